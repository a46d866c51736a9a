package monitor

import (
	"testing"

	"github.com/vishvananda/netlink"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

// A loss of carrier is seen after it is over.
func TestCarrier(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := nstest.New(t)
		nstest.Veth(t, "eth0", "peer0", far)
		look := func() platform.Link {
			t.Helper()
			s, err := newMonitor(t).Snapshot(t.Context())
			must(t, err)
			l, _ := s.LinkByName("eth0")
			return l
		}
		last := look()
		if !last.Up || last.Ups == 0 {
			t.Fatalf("%+v", last)
		}
		for range 3 {
			far.Do(t, func() error {
				peer0, err := netlink.LinkByName("peer0")
				if err != nil {
					return err
				}
				if err := netlink.LinkSetDown(peer0); err != nil {
					return err
				}
				return netlink.LinkSetUp(peer0)
			})
			eventually(t, func() string {
				want := last
				want.Ups++
				return cmpDiff(want, look())
			})
			last = look()
		}
	})
}

// What comes in by the port of a bridge is the bridge's; by a member of a VRF, its own.
func TestPorts(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := nstest.New(t)
		want := map[string]bool{"lo": false}
		link := func(name string, port bool, master netlink.Link) {
			t.Helper()
			nstest.Veth(t, name, "to-"+name, far)
			if want[name] = port; master != nil {
				l, err := netlink.LinkByName(name)
				must(t, err)
				must(t, netlink.LinkSetMaster(l, master))
			}
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "br0"
		bridge := &netlink.Bridge{LinkAttrs: attrs}
		must(t, netlink.LinkAdd(bridge))
		want["br0"] = false
		link("port0", true, bridge)
		link("eth0", false, nil)
		attrs.Name = "vrf0"
		vrf := &netlink.Vrf{LinkAttrs: attrs, Table: 100}
		if err := netlink.LinkAdd(vrf); err == nil { // not every kernel has VRFs
			want["vrf0"] = false
			link("member0", false, vrf)
		}
		s, err := newMonitor(t).Snapshot(t.Context())
		must(t, err)
		for _, l := range s.Links {
			if port, ok := want[l.Name]; !ok || l.Port != port || l.Loopback != (l.Name == "lo") {
				t.Errorf("%+v", l)
			}
			delete(want, l.Name)
		}
		if len(want) > 0 {
			t.Errorf("not seen: %v", want)
		}
	})
}
