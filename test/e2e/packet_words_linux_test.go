package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
)

// TestFirstWords reads from the wire what the program says of its address, and in which order: it is in the group of those who may have it
// (RFC 3810), asks whether somebody has it (RFC 4862, 5.4.2), waits, tells the routers (RFC 9131, 6.1.2), and only then uses it. Where the
// address was its own within the last day, and only there, it does not wait (RFC 4429).
func TestFirstWords(t *testing.T) {
	t.Parallel()
	const (
		wait      = time.Second            // RETRANS_TIMER: how long others have to object
		immediate = 700 * time.Millisecond // less than that by far, also on a busy machine
	)
	top := newNetwork(t, network{path: onPacket})
	folder := t.TempDir()
	var addr netip.Addr
	for _, c := range []struct {
		name, dad string
		used      time.Duration // ago; 0: as the last start left it
		waits     bool
	}{
		{name: "the first start", dad: "optimistic", waits: true},
		{name: "the next start", dad: "optimistic"},
		{name: "the next start, after more than a day", dad: "optimistic", used: 25 * time.Hour, waits: true},
		{name: "the next start, which is not to be optimistic", dad: "normal", waits: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.used > 0 {
				usedAt(t, folder, addr, time.Now().Add(-c.used))
			}
			seen := startCapture(t, top.router, "lan0", "ip6 and ether src "+mac(0x11).String())
			p := top.up(t, "--state-dir", folder, "--address.dad", c.dad)
			top.ping4(t)
			addr = p.addr6(t)
			eventually(t, "the routers are told", func() bool { return slices.ContainsFunc(seen.soFar(t), announces(addr)) })
			down(t, p, syscall.SIGTERM)
			took := p.saidAt(t, `msg="on: `).Sub(p.saidAt(t, `msg="starting: seeing whether `+addr.String()+" is free"))
			switch {
			case c.waits && took < wait:
				t.Errorf("it was on after %v, which is before anybody could object", took)
			case !c.waits && took > immediate:
				t.Errorf("it was on after %v", took)
			}
			frames := seen.frames(t)
			group, asked, used := reports(frames, addr), slices.IndexFunc(frames, detects(addr)), slices.IndexFunc(frames, isFrom(addr))
			told := slices.IndexFunc(frames, announces(addr))
			if group < 0 || asked < 0 || told < 0 || used < asked {
				t.Fatalf("its group is reported in frame %d, its address asked for in %d, announced in %d, used in %d", group, asked, told, used)
			}
			if c.waits && (used != told || used < group) {
				t.Errorf("it uses the address in frame %d, and reports the group in %d, tells the routers in %d", used, group, told)
			}
		})
	}
}

// usedAt has a state folder say when an address was ours.
func usedAt(t *testing.T, folder string, addr netip.Addr, at time.Time) {
	t.Helper()
	text := fmt.Sprintf(`{"schema": 1, "addresses": {"%s": "%s"}}`, addr, at.UTC().Format(time.RFC3339))
	if err := os.WriteFile(filepath.Join(folder, "addresses.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// saidAt is when the program logged the first line with a text.
func (p *process) saidAt(t *testing.T, text string) time.Time {
	t.Helper()
	m := regexp.MustCompile(`(?m)^time=(\S+) .*` + regexp.QuoteMeta(text)).FindStringSubmatch(p.said())
	if m == nil {
		t.Fatalf("%s does not say %s", p.name, text)
	}
	at, err := time.Parse(time.RFC3339Nano, m[1])
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// neighbourDiscovery is the message of Neighbor Discovery in an Ethernet frame, and between whom; nil where there is none.
func neighbourDiscovery(f []byte) (src, dst netip.Addr, m ndp.Message) {
	const body = 14 + 40
	if len(f) < body+8 || binary.BigEndian.Uint16(f[12:]) != 0x86dd || f[14+6] != syscall.IPPROTO_ICMPV6 {
		return src, dst, nil
	}
	m, err := ndp.ParseMessage(f[body:])
	if err != nil {
		return src, dst, nil
	}
	return netip.AddrFrom16([16]byte(f[14+8:])), netip.AddrFrom16([16]byte(f[14+24:])), m
}

// isFrom finds packets from an address.
func isFrom(addr netip.Addr) func([]byte) bool {
	return func(f []byte) bool { return source6(f) == addr.String() }
}

// detects finds the solicitation of duplicate address detection: from nobody, to the group, with a nonce (RFC 7527), and without a link-layer
// address (RFC 4861, 4.3).
func detects(addr netip.Addr) func([]byte) bool {
	return func(f []byte) bool {
		src, dst, m := neighbourDiscovery(f)
		s, ok := m.(*ndp.NeighborSolicitation)
		if !ok || s.TargetAddress != addr || src != netip.IPv6Unspecified() || dst != solicitedNode(addr) || len(s.Options) != 1 {
			return false
		}
		_, ok = s.Options[0].(*ndp.Nonce)
		return ok && bytes.Equal(f[:6], groupMAC(dst))
	}
}

// announces finds the advertisement that is for routers, of which none knows the address yet.
func announces(addr netip.Addr) func([]byte) bool {
	return func(f []byte) bool {
		src, dst, m := neighbourDiscovery(f)
		a, ok := m.(*ndp.NeighborAdvertisement)
		return ok && src == addr && dst == netip.IPv6LinkLocalAllRouters() && a.TargetAddress == addr && !a.Solicited && !a.Override && !a.Router &&
			bytes.Equal(targetMAC(a), f[6:12]) && bytes.Equal(f[:6], groupMAC(dst))
	}
}

// defends finds the advertisement that is for all, whatever they believed.
func defends(addr netip.Addr) func([]byte) bool {
	return func(f []byte) bool {
		src, dst, m := neighbourDiscovery(f)
		a, ok := m.(*ndp.NeighborAdvertisement)
		return ok && src == addr && dst == netip.IPv6LinkLocalAllNodes() && a.TargetAddress == addr && !a.Solicited && a.Override && !a.Router &&
			bytes.Equal(targetMAC(a), f[6:12])
	}
}

// answers finds the advertisement that is for who asked.
func answers(addr netip.Addr) func([]byte) bool {
	return func(f []byte) bool {
		src, dst, m := neighbourDiscovery(f)
		a, ok := m.(*ndp.NeighborAdvertisement)
		return ok && src == addr && !dst.IsMulticast() && a.TargetAddress == addr && a.Solicited && a.Override && !a.Router &&
			bytes.Equal(targetMAC(a), f[6:12])
	}
}

// asks finds a solicitation for an address that was sent to one of that or to its group.
func asks(addr, to netip.Addr) func([]byte) bool {
	return func(f []byte) bool {
		src, dst, m := neighbourDiscovery(f)
		s, ok := m.(*ndp.NeighborSolicitation)
		return ok && s.TargetAddress == addr && dst == to && src != netip.IPv6Unspecified()
	}
}

// targetMAC is the link-layer address in an advertisement; nil where there is none.
func targetMAC(a *ndp.NeighborAdvertisement) net.HardwareAddr {
	for _, o := range a.Options {
		if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == ndp.Target {
			return l.Addr
		}
	}
	return nil
}

// groupMAC is where packets to a group go (RFC 2464, 7).
func groupMAC(group netip.Addr) net.HardwareAddr {
	a := group.As16()
	return append(net.HardwareAddr{0x33, 0x33}, a[12:]...)
}

// reports is the first frame with a report of MLDv2 (RFC 3810, 5.2) that the group of an address has a member here; -1: there is none.
func reports(frames [][]byte, addr netip.Addr) int {
	const hopByHop, report = 14 + 40, 14 + 40 + 8
	group := solicitedNode(addr).AsSlice()
	return slices.IndexFunc(frames, func(f []byte) bool {
		return len(f) > report+8 && f[14+6] == syscall.IPPROTO_HOPOPTS && f[hopByHop] == syscall.IPPROTO_ICMPV6 && f[report] == 143 &&
			bytes.Contains(f[report+8:], group)
	})
}
