package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// offloads are what an interface may do with TCP and UDP beyond single packets: cut what is larger, add checksums, put together what belongs
// together.
var offloads = []string{
	"tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp-segmentation", "tx-generic-segmentation", "tx-checksum-ip-generic", "rx-gro",
}

// TestOffloads has the uplink do all of that or nothing, at both ends, and hashes what arrives. The program turns nothing off.
func TestOffloads(t *testing.T) { eachPath(t, testOffloads) }

func testOffloads(t *testing.T, top *topology) {
	size := int64(100_000_000)
	if withRace() {
		size /= 10
	}
	file := filepath.Join(t.TempDir(), "blob")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, blob(size)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := hashOf(blob(size))
	if err != nil {
		t.Fatal(err)
	}
	curl := peers.Find(t, "curl")
	shell := peers.Program{Path: "/bin/sh", Env: curl.Env}
	p := top.up(t, top.configured()...)
	for _, here := range []bool{true, false} {
		for _, there := range []bool{true, false} {
			t.Run(fmt.Sprintf("laptop %v, router %v", here, there), func(t *testing.T) {
				setFeatures(t, top.laptop, "eth0", here, offloads...)
				setFeatures(t, top.router, "lan0", there, offloads...)
				before := features(t, top.laptop, "eth0")
				sum := must(t, top.laptop, shell, "-c", fmt.Sprintf("%s -sS --fail --max-time 50 %s | sha256sum", curl.Path, top.url(int(size))))
				if got, _, _ := strings.Cut(sum, " "); got != want {
					t.Errorf("the download has hash %s, want %s", got, want)
				}
				if got := must(t, top.laptop, curl, "-sS", "--fail", "--max-time", "50", "-T", file, top.url(0)); got != want+"\n" {
					t.Errorf("the upload has hash %q, want %s", got, want)
				}
				if after := features(t, top.laptop, "eth0"); !slices.Equal(before, after) {
					t.Errorf("the features of eth0 are %q, and were %q", after, before)
				}
			})
		}
	}
	down(t, p, syscall.SIGTERM)
}

// setFeatures turns features of an interface on or off, as `ethtool -K` does.
func setFeatures(t *testing.T, n *netlab.Node, dev string, on bool, names ...string) {
	t.Helper()
	_, err := ethtool(t, n, dev, unix.ETHTOOL_MSG_FEATURES_SET, func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.ETHTOOL_A_FEATURES_WANTED, func(w *netlink.AttributeEncoder) error {
			w.Nested(unix.ETHTOOL_A_BITSET_BITS, func(bits *netlink.AttributeEncoder) error {
				for _, name := range names {
					bits.Nested(unix.ETHTOOL_A_BITSET_BITS_BIT, func(bit *netlink.AttributeEncoder) error {
						bit.String(unix.ETHTOOL_A_BITSET_BIT_NAME, name)
						bit.Flag(unix.ETHTOOL_A_BITSET_BIT_VALUE, on)
						return nil
					})
				}
				return nil
			})
			return nil
		})
	})
	if err != nil {
		t.Fatalf("features of %s in %s: %v", dev, n.Name(), err)
	}
	active := features(t, n, dev)
	for _, name := range names {
		if slices.Contains(active, name) != on {
			t.Fatalf("%s of %s in %s cannot be %v", name, dev, n.Name(), on)
		}
	}
}

// features are those of an interface that are on.
func features(t *testing.T, n *netlab.Node, dev string) (names []string) {
	t.Helper()
	msgs, err := ethtool(t, n, dev, unix.ETHTOOL_MSG_FEATURES_GET, func(*netlink.AttributeEncoder) {})
	if err != nil || len(msgs) == 0 {
		t.Fatalf("features of %s in %s: %v", dev, n.Name(), err)
	}
	ad, err := netlink.NewAttributeDecoder(msgs[0].Data[unix.GENL_HDRLEN:])
	if err != nil {
		t.Fatal(err)
	}
	for ad.Next() {
		if ad.Type() == unix.ETHTOOL_A_FEATURES_ACTIVE {
			ad.Nested(func(set *netlink.AttributeDecoder) error { return bitNames(set, &names) })
		}
	}
	if ad.Err() != nil {
		t.Fatal(ad.Err())
	}
	return names
}

// bitNames adds those of a set without a mask, in which each bit that is there is set.
func bitNames(set *netlink.AttributeDecoder, names *[]string) error {
	for set.Next() {
		if set.Type() != unix.ETHTOOL_A_BITSET_BITS {
			continue
		}
		set.Nested(func(bits *netlink.AttributeDecoder) error {
			for bits.Next() {
				bits.Nested(func(bit *netlink.AttributeDecoder) error {
					for bit.Next() {
						if bit.Type() == unix.ETHTOOL_A_BITSET_BIT_NAME {
							*names = append(*names, bit.String())
						}
					}
					return nil
				})
			}
			return nil
		})
	}
	return nil
}

// ethtool asks the kernel of a node something about an interface.
func ethtool(t *testing.T, n *netlab.Node, dev string, command uint8, attrs func(*netlink.AttributeEncoder)) (msgs []netlink.Message, err error) {
	t.Helper()
	inside(t, n, func() error {
		c, dialErr := netlink.Dial(unix.NETLINK_GENERIC, nil)
		if dialErr != nil {
			return dialErr
		}
		defer c.Close()
		family, familyErr := ethtoolFamily(c)
		if familyErr != nil {
			return familyErr
		}
		ae := netlink.NewAttributeEncoder()
		ae.Nested(unix.ETHTOOL_A_FEATURES_HEADER, func(h *netlink.AttributeEncoder) error {
			h.String(unix.ETHTOOL_A_HEADER_DEV_NAME, dev)
			return nil
		})
		attrs(ae)
		msgs, err = generic(c, family, command, ae)
		return nil
	})
	return msgs, err
}

// ethtoolFamily is the number of the family "ethtool" in this kernel.
func ethtoolFamily(c *netlink.Conn) (uint16, error) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.CTRL_ATTR_FAMILY_NAME, unix.ETHTOOL_GENL_NAME)
	msgs, err := generic(c, unix.GENL_ID_CTRL, unix.CTRL_CMD_GETFAMILY, ae)
	if err != nil {
		return 0, err
	}
	ad, err := netlink.NewAttributeDecoder(msgs[0].Data[unix.GENL_HDRLEN:])
	if err != nil {
		return 0, err
	}
	for ad.Next() {
		if ad.Type() == unix.CTRL_ATTR_FAMILY_ID {
			return ad.Uint16(), nil
		}
	}
	return 0, errors.New("this kernel has no ethtool by netlink")
}

func generic(c *netlink.Conn, family uint16, command uint8, ae *netlink.AttributeEncoder) ([]netlink.Message, error) {
	attrs, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	return c.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(family), Flags: netlink.Request},
		Data:   append([]byte{command, 1, 0, 0}, attrs...),
	})
}
