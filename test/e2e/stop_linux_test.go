package e2e

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestStop ends the program in all the states that it can be in: it ends well, and leaves the laptop as it was.
func TestStop(t *testing.T) { eachPath(t, testStop) }

func testStop(t *testing.T, top *topology) {
	before := dump(t, top.laptop)
	for _, c := range []struct {
		name   string
		signal syscall.Signal
	}{{"SIGINT", syscall.SIGINT}, {"SIGTERM", syscall.SIGTERM}} {
		t.Run(c.name, func(t *testing.T) {
			p := top.up(t, top.configured()...)
			top.ping4(t)
			down(t, p, c.signal)
			top.unchanged(t, before)
		})
		t.Run(c.name+" with traffic running", func(t *testing.T) {
			p := top.up(t, top.configured()...)
			traffic := top.endlessDownload(t)
			down(t, p, c.signal)
			top.unchanged(t, before)
			traffic.stop(t, syscall.SIGKILL)
		})
		t.Run(c.name+" while it waits", func(t *testing.T) {
			top.resolver(t, nobody)
			p := top.startUclat(t, top.discovering()...)
			p.wait(t, "waiting: no PREF64")
			down(t, p, c.signal)
			top.unchanged(t, before)
			top.resolver(t, routerLAN.Addr().String())
		})
		t.Run(c.name+" right after the start", func(t *testing.T) {
			p := top.startUclat(t, top.configured()...)
			// The device is there, and what comes next has just begun.
			eventually(t, "the device is made", func() bool { return top.has(tunDev) })
			down(t, p, c.signal)
			top.unchanged(t, before)
		})
	}
}

// has says whether the laptop has an interface.
func (top *topology) has(dev string) bool {
	_, err := top.laptop.HardwareAddr(dev)
	return err == nil
}

// endlessDownload returns when the first of it has come.
func (top *topology) endlessDownload(t *testing.T) *process {
	t.Helper()
	const endless = 1 << 40
	// The progress meter is printed anew after each carriage return.
	p := start(t, top.laptop, peers.Find(t, "curl"), "-o", "/dev/null", "--limit-rate", "20M", top.url(endless))
	p.wait(t, "1024G")
	return p
}

// TestDeviceDeleted shows that somebody who deletes the device meets a warning, and gets it back.
func TestDeviceDeleted(t *testing.T) { eachPath(t, testDeviceDeleted) }

func testDeviceDeleted(t *testing.T, top *topology) {
	before := dump(t, top.laptop)
	p := top.up(t, top.configured()...)
	running := dump(t, top.laptop)
	for range 2 {
		must(t, top.laptop, peers.Find(t, "ip"), "link", "delete", tunDev)
		eventually(t, "all of the device is back", func() bool { return dump(t, top.laptop) == running })
		top.ping4(t)
	}
	if n := strings.Count(p.said(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings, want one each time", n)
	}
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}

// TestNativeIPv4 shows that IPv4 of the network itself wins: in mode "auto" the program is off beside it, in others its route is the worse.
func TestNativeIPv4(t *testing.T) { eachPath(t, testNativeIPv4) }

func testNativeIPv4(t *testing.T, top *topology) {
	native := netlab.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.1.1"), Dev: "eth0", Metric: 1024000}
	addr := netip.MustParsePrefix("192.168.1.2/24")
	provide := func(t *testing.T) {
		t.Helper()
		if err := top.laptop.AddAddr("eth0", addr); err != nil {
			t.Fatal(err)
		}
		if err := top.laptop.AddRoute(native); err != nil {
			t.Fatal(err)
		}
	}
	withdraw := func(t *testing.T) {
		t.Helper()
		if err := top.laptop.DelAddr("eth0", addr); err != nil { // and with it the route
			t.Fatal(err)
		}
	}
	t.Run(`mode "force": both routes are there, and ours is the worse`, func(t *testing.T) {
		provide(t)
		before := dump(t, top.laptop)
		p := top.up(t, top.configured()...)
		lost, _ := changes(before, dump(t, top.laptop))
		for _, line := range lost {
			if strings.HasPrefix(line, "route ") || strings.HasPrefix(line, "address ") {
				t.Errorf("it took away %s", line)
			}
		}
		out := must(t, top.laptop, peers.Find(t, "ip"), "route", "get", server4.String())
		if !strings.Contains(out, "dev eth0") {
			t.Errorf("native IPv4 is not preferred: %s", out)
		}
		down(t, p, syscall.SIGTERM)
		top.unchanged(t, before)
		withdraw(t)
	})
	t.Run(`mode "auto": off while there is native IPv4`, func(t *testing.T) {
		before := dump(t, top.laptop)
		p := top.up(t, top.discovering()...)
		provide(t)
		p.wait(t, `msg="off: this network has IPv4 itself, by 192.168.1.1 on eth0`)
		withdraw(t)
		eventually(t, "IPv4 by translation is back", func() bool { return strings.Count(p.said(), `msg="on: `) == 2 })
		top.ping4(t)
		down(t, p, syscall.SIGTERM)
		top.unchanged(t, before)
	})
}
