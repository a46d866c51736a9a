package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"uclat/test/peers"
)

// TestForwardingTurnedOn has another program turn IPv6 forwarding on while packets go, and off again. A kernel that forwards has a word to
// say to packets for an address that it does not have: it is kept from that, and no packet is lost.
func TestForwardingTurnedOn(t *testing.T) {
	t.Parallel()
	for _, key := range []string{allForwarding, forceEth0} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			top := newNetwork(t, network{path: onPacket, lan: bridge})
			if _, err := top.laptop.Sysctl(key); err != nil {
				peers.Skip(t, "this kernel has no %s", key)
			}
			top.setSysctl(t, acceptRAEth0, "2")
			quickly(t, top.laptop, "eth0")
			before := dump(t, top.laptop)
			p := top.up(t, top.configured()...)
			s := top.startStream(t, server4)
			running := dump(t, top.laptop)
			silent := "route " + top.addr6 + "/128 table 254 type 6 protocol 46 "
			has := func() bool { return strings.Contains(dump(t, top.laptop), silent) }
			if has() {
				t.Error("the route is there without forwarding")
			}
			for range 2 {
				top.setSysctl(t, key, "1")
				eventually(t, "the route is there", has)
				// What came before, the kernel still looks for a neighbour for, and then says that it has found none.
				said := top.kernelSays(t)
				eventually(t, "the kernel has said its last word", func() bool {
					before := said()
					began := time.Now()
					eventually(t, "time has passed", func() bool { return time.Since(began) > kernelGivesUp })
					return said() == before
				})
				s.goesOn(t)
				top.setSysctl(t, key, "0")
				eventually(t, "the route is gone", func() bool { return !has() })
			}
			if sent, lost := s.end(t); lost > 0 {
				t.Errorf("%d of %d packets were lost", lost, sent)
			}
			eventually(t, "all is as it was while it ran", func() bool { return dump(t, top.laptop) == running })
			down(t, p, syscall.SIGTERM)
			top.unchanged(t, before)
		})
	}
}

// kernelGivesUp is after how long a kernel that is to be quick has found no neighbour.
const kernelGivesUp = time.Second

// kernelSays counts what the laptop's kernel says of packets that are none of its business: ICMPv6 errors, Redirects, and Neighbor Solicitations
// for the address that is not its own.
func (top *topology) kernelSays(t *testing.T) (said func() int) {
	t.Helper()
	words := startCapture(t, top.bridge, "laptop0", "icmp6 and (ip6[40] < 128 or ip6[40] == 137 or ip6[40] == 135) and ether src "+mac(0x11).String())
	return func() (n int) {
		t.Helper()
		for _, f := range words.soFar(t) {
			const kind, solicitation = 14 + 40, 135
			if f[kind] != solicitation || target(f).String() == top.addr6 {
				n++
			}
		}
		return n
	}
}
