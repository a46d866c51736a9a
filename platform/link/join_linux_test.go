package link

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"uclat/platform/internal/nstest"
)

// The kernel is in the group while somebody wants it, tells the link so, and is out after Close.
func TestJoin(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := newLab(t)
		near, _ := openPair(t, far)
		reports := listenMLD(t, far)
		addr := netip.MustParseAddr(own)
		const group = "ff02::1:ff00:c1a7"
		if member(t, group) {
			t.Fatal("in the group before")
		}
		leave, err := near.Join(addr)
		must(t, err)
		again, err := near.Join(addr)
		must(t, err)
		if !member(t, group) {
			t.Error("not in the group")
		}
		const toExclude, toInclude = 4, 3 // RFC 3810, 5.2.12
		reports.wait(t, group, toExclude)
		must(t, leave())
		must(t, leave())
		if !member(t, group) {
			t.Error("out of the group, which is wanted once more")
		}
		must(t, again())
		if member(t, group) {
			t.Error("in the group after both left")
		}
		reports.wait(t, group, toInclude)
		if leave, err = near.Join(addr); err != nil || !member(t, group) {
			t.Errorf("joined again: %v", err)
		}
		must(t, near.Close())
		if member(t, group) {
			t.Error("in the group after Close")
		}
		must(t, leave())
		if _, err := near.Join(netip.MustParseAddr("192.0.2.1")); err == nil {
			t.Error("joined for an IPv4 address")
		}
	})
}

// member says whether up0 is in a group.
func member(t *testing.T, group string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/igmp6")
	must(t, err)
	a := netip.MustParseAddr(group).As16()
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "up0" && f[2] == hex.EncodeToString(a[:]) {
			return true
		}
	}
	return false
}

// mld is a socket that hears all Multicast Listener Reports on peer0.
type mld struct{ *packet.Conn }

func listenMLD(t *testing.T, far *nstest.NS) mld {
	t.Helper()
	var c *packet.Conn
	far.Do(t, func() error {
		ifi, err := net.InterfaceByName("peer0")
		if err != nil {
			return err
		}
		c, err = packet.Listen(ifi, packet.Datagram, unix.ETH_P_IPV6, nil)
		return err
	})
	t.Cleanup(func() { c.Close() })
	return mld{c}
}

// wait waits for a report of version 2 with a record of that kind for the group.
func (m mld) wait(t *testing.T, group string, kind byte) {
	t.Helper()
	a := netip.MustParseAddr(group).As16()
	must(t, m.SetReadDeadline(time.Now().Add(patience)))
	for buf := make([]byte, 1500); ; {
		n, _, err := m.ReadFrom(buf)
		if err != nil {
			t.Fatalf("no report of kind %d for %s: %v", kind, group, err)
		}
		const hopByHop = 8
		p := buf[40:max(n, 40)]
		if buf[6] != 0 || len(p) < hopByHop+8 || p[hopByHop] != 143 {
			continue
		}
		for r := p[hopByHop+8:]; len(r) >= 20; r = r[20+int(binary.BigEndian.Uint16(r[2:]))*16+int(r[1])*4:] {
			if r[0] == kind && [16]byte(r[4:20]) == a {
				return
			}
		}
	}
}
