package monitor

import (
	"context"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"

	"uclat/platform/internal/nstest"
)

// An MTU that changes is in a snapshot behind a knock: of the link, and of IPv6 on it by a router's word, which the kernel forgets when the link's
// changes.
func TestWatchMTU(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		router := nstest.New(t)
		nstest.Veth(t, "eth0", "peer0", router)
		nstest.Settle(t)
		eth0, err := netlink.LinkByName("eth0")
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		knocks, done := make(chan struct{}, 1), make(chan error, 1)
		go func() {
			done <- newMonitor(t).Watch(ctx, func() {
				select {
				case knocks <- struct{}{}:
				default:
				}
			})
		}()
		for _, tt := range []struct {
			what      string
			change    func() error
			mtu, mtu6 int
		}{
			{"as it is", func() error { return nil }, 1500, 1500},
			{"a router says less", func() error {
				router.Do(t, func() error { return announce("peer0", ndp.NewMTU(1400)) })
				return nil
			}, 1500, 1400},
			{"it says more again", func() error {
				router.Do(t, func() error { return announce("peer0", ndp.NewMTU(1450)) })
				return nil
			}, 1500, 1450},
			{"the link takes less", func() error { return netlink.LinkSetMTU(eth0, 1300) }, 1300, 1300},
			{"the link takes more again", func() error { return netlink.LinkSetMTU(eth0, 1480) }, 1480, 1480},
		} {
			must(t, tt.change())
			for timeout, seen := time.After(5*time.Second), false; !seen; {
				select {
				case <-knocks:
				case <-timeout:
					t.Errorf("%s: no knock after which it was seen", tt.what)
					seen = true
					continue
				}
				s, err := newMonitor(t).Snapshot(t.Context())
				must(t, err)
				l, _ := s.Link(eth0.Attrs().Index)
				seen = l.MTU == tt.mtu && l.MTU6 == tt.mtu6
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
}
