package e2e

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// realWireGuard is a link without link-layer addresses and without multicast: nobody advertises anything.
var realWireGuard = lan{uplink: "wg0", address: netip.MustParsePrefix("2001:db8:1::d/64"), lay: layRealWireGuard}

// The cable that WireGuard goes by, and where the router listens.
var (
	underLaptop = netip.MustParsePrefix("fd00:db8::2/64")
	underRouter = netip.MustParsePrefix("fd00:db8::1/64")
)

const portWireGuard = 51820

// tunnelMTU is what wireguard-go gives its device, in octets.
const tunnelMTU = device.DefaultMTU

// layRealWireGuard has wireguard-go at both ends. The laptop sends everything to the router, and the router what is the laptop's.
func layRealWireGuard(t *testing.T, top *topology) error {
	if err := errors.Join(
		top.laptop.SetSysctl("net.ipv6.conf.default.accept_ra", "0"), // there is nobody else on the cable
		netlab.Connect(top.laptop, "eth0", top.router, "eth0", netlab.LinkOptions{}),
		top.laptop.AddAddr("eth0", underLaptop),
		top.router.AddAddr("eth0", underRouter),
	); err != nil {
		return err
	}
	if _, err := top.laptop.WaitAddr(t.Context(), "eth0", underLaptop.Masked()); err != nil {
		return err
	}
	a, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	b, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	anywhere := netip.MustParsePrefix("::/0")
	top.startRole(t, top.router, "wireguard", wireguardOptions{
		Interface: "lan0", Key: a.Bytes(), Peer: b.PublicKey().Bytes(), AllowedIPs: []netip.Prefix{lanPrefix, routedPrefix},
	})
	top.startRole(t, top.laptop, "wireguard", wireguardOptions{
		Interface: "wg0", Key: b.Bytes(), Peer: a.PublicKey().Bytes(), AllowedIPs: []netip.Prefix{anywhere},
		Endpoint: netip.AddrPortFrom(underRouter.Addr(), portWireGuard),
	})
	return errors.Join(
		top.laptop.SetUp("wg0", true),
		top.router.SetUp("lan0", true),
		top.laptop.AddRoute(netlab.Route{Dst: anywhere, Dev: "wg0"}),
	)
}

// wireguardOptions are the argument of wireguardRole.
type wireguardOptions struct {
	Interface  string
	Key, Peer  []byte         // our private key, and the public key of the one peer
	Endpoint   netip.AddrPort // of the peer; invalid where it begins
	AllowedIPs []netip.Prefix
}

// wireguardRole is an interface of wireguard-go.
func wireguardRole(ctx context.Context, arg json.RawMessage, report func(any) error) error {
	var opt wireguardOptions
	if err := json.Unmarshal(arg, &opt); err != nil {
		return err
	}
	t, err := tun.CreateTUN(opt.Interface, tunnelMTU)
	if err != nil {
		return err
	}
	d := device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, opt.Interface+": "))
	defer d.Close()
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%s\nlisten_port=%d\npublic_key=%s\n", hex.EncodeToString(opt.Key), portWireGuard, hex.EncodeToString(opt.Peer))
	if opt.Endpoint.IsValid() {
		fmt.Fprintf(&b, "endpoint=%s\npersistent_keepalive_interval=25\n", opt.Endpoint)
	}
	for _, p := range opt.AllowedIPs {
		fmt.Fprintf(&b, "allowed_ip=%s\n", p)
	}
	if err := errors.Join(d.IpcSet(b.String()), d.Up(), report("ready")); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// TestNetworkWireGuard reaches the server over it, without the program under test.
func TestNetworkWireGuard(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{lan: realWireGuard})
	url := fmt.Sprintf("http://[%s]:%d/%d", server6, portHTTP, 1_000_000)
	checkBlob(t, must(t, top.laptop, peers.Find(t, "curl"), "-sS", "--fail", "--max-time", "20", url), 1_000_000)
	if link := must(t, top.laptop, peers.Find(t, "ip"), "link", "show", "wg0"); !strings.Contains(link, "mtu 1420") || !strings.Contains(link, "link/none") {
		t.Errorf("wg0 is\n%s", link)
	}
}

// TestUplinkWireGuard has WireGuard as the uplink.
func TestUplinkWireGuard(t *testing.T) {
	t.Parallel()
	testUplink(t, newNetwork(t, network{path: onPacket, lan: realWireGuard}))
}
