package e2e

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"uclat/test/lab/netlab"
)

// lan is what connects the laptop with its router, whose end is always lan0.
type lan struct {
	uplink  string       // the laptop's end
	address netip.Prefix // that the laptop is given there by hand; the zero value: it makes its own from what the router advertises
	lay     func(t *testing.T, top *topology) error
}

var (
	// cable is Ethernet, and nothing between.
	cable = lan{uplink: "eth0", lay: func(_ *testing.T, top *topology) error {
		return netlab.Connect(top.laptop, "eth0", top.router, "lan0", netlab.LinkOptions{MACA: mac(0x11), MACB: mac(0x12)})
	}}
	// bridge is Ethernet with a switch, on which more hosts can be.
	bridge = lan{uplink: "eth0", lay: layBridge}
	// tunnel is a link without link-layer addresses that carries all that is sent, such as that of a modem.
	tunnel = lan{uplink: "wwan0", lay: layTunnel}
)

// mac is the link-layer address of an interface of the topology.
func mac(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, last} }

// layTunnel has the test itself carry packets between two TUN devices.
func layTunnel(t *testing.T, top *topology) error {
	carry(t, openTUN(t, top.laptop, "wwan0"), openTUN(t, top.router, "lan0"))
	return errors.Join(top.laptop.SetUp("wwan0", true), top.router.SetUp("lan0", true))
}

// carry writes what is read from either device into the other, and says which was the largest of each.
func carry(t *testing.T, a, b *os.File) (fromA, fromB *atomic.Int64) {
	fromA, fromB = new(atomic.Int64), new(atomic.Int64)
	var carrying sync.WaitGroup
	for _, way := range []struct {
		from, to *os.File
		largest  *atomic.Int64
	}{{a, b, fromA}, {b, a, fromB}} {
		carrying.Go(func() {
			buf := make([]byte, 70000)
			for {
				n, err := way.from.Read(buf)
				if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) {
					return
				}
				if err == nil {
					way.largest.Store(max(way.largest.Load(), int64(n)))
					_, _ = way.to.Write(buf[:n]) // what the other end does not take now is lost
				}
			}
		})
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
		carrying.Wait()
	})
	return fromA, fromB
}
