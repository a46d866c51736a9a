package e2e

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

// codeFault is the exit code of a command that found a fault which may mend itself.
const codeFault = 1

// TestWait takes away what the program needs of the network. `run` says so in one line, waits, and goes on when it is there again, and
// the other commands say so and end with 1.
func TestWait(t *testing.T) {
	t.Parallel()
	withPREF64 := func(p path, _ ...string) []string { return p.discovering("--pref64.prefixes", pref64.String()) }
	for _, c := range []waitCase{
		{
			name: "no PREF64", flags: path.discovering, want: "waiting: no PREF64 on eth0: none is configured", discover: codeFault,
			take: func(t *testing.T, top *topology) { top.resolver(t, "::1") },
			give: func(t *testing.T, top *topology) { top.resolver(t, routerLAN.Addr().String()) },
		},
		{
			name: "no resolver", flags: path.discovering, want: "waiting: no PREF64 on eth0: none is configured", discover: codeFault,
			take: func(t *testing.T, top *topology) {
				if err := top.laptop.WriteFile("/etc/resolv.conf", nil); err != nil {
					t.Fatal(err)
				}
			},
			give: func(t *testing.T, top *topology) { top.resolver(t, routerLAN.Addr().String()) },
		},
		{
			name: "uplink down", flags: path.configured, want: "waiting: eth0 (uplink) is down",
			take: func(t *testing.T, top *topology) { top.setUp(t, false) },
			give: func(t *testing.T, top *topology) { top.setUp(t, true) },
		},
		{
			name: "no uplink", flags: withPREF64, want: "waiting: no interface has an IPv6 default route",
			take: func(t *testing.T, top *topology) { top.setUp(t, false) },
			give: func(t *testing.T, top *topology) { top.setUp(t, true) },
		},
		{
			name: "no IPv6 address", flags: path.configured, want: "waiting: no interface has a global IPv6 address yet",
			take: func(t *testing.T, top *topology) {
				if err := top.laptop.DelAddr("eth0", netip.PrefixFrom(top.laptopAddr, lanPrefix.Bits())); err != nil {
					t.Fatal(err)
				}
			},
			give: func(*testing.T, *topology) {}, // radvd's next advertisement
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachPath(t, c.test)
		})
	}
}

// waitCase is one thing that the network lacks for a while.
type waitCase struct {
	name     string
	flags    func(path, ...string) []string
	take     func(t *testing.T, top *topology)
	give     func(t *testing.T, top *topology)
	want     string
	discover int // exit code
}

func (c waitCase) test(t *testing.T, top *topology) {
	flags := c.flags(top.path)
	whole := dump(t, top.laptop)
	c.take(t, top)
	p := top.startUclat(t, flags...)
	p.wait(t, `level=INFO msg="`+c.want)
	for _, command := range [][]string{{"check"}, {"explain", server4.String()}} {
		r := try(t, top.laptop, uclat(t), append(command, flags...)...)
		if r.code != codeFault || !strings.HasPrefix(r.stderr, "uclat: "+c.want) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: %+v", command[0], r)
		}
	}
	if r := try(t, top.laptop, uclat(t), append([]string{"discover"}, flags...)...); r.code != c.discover {
		t.Errorf("discover: %+v", r)
	}
	if n := strings.Count(p.said(), `msg="waiting: `); n != 1 {
		t.Errorf("%d lines say that it waits", n)
	}
	c.give(t, top)
	p.wait(t, `msg="on: IPv4 through eth0`)
	top.ping4(t)
	down(t, p, syscall.SIGTERM)
	eventually(t, "the laptop is as before all of it", func() bool { return dump(t, top.laptop) == whole })
}

// setUp sets the laptop's uplink up or down.
func (top *topology) setUp(t *testing.T, up bool) {
	t.Helper()
	if err := top.laptop.SetUp("eth0", up); err != nil {
		t.Fatal(err)
	}
}

// TestUplinkLost takes the uplink away from the running program: it waits, and IPv4 is back when the uplink is.
func TestUplinkLost(t *testing.T) { eachPath(t, testUplinkLost) }

func testUplinkLost(t *testing.T, top *topology) {
	before := dump(t, top.laptop)
	p := top.up(t, top.discovering()...)
	top.setUp(t, false)
	p.wait(t, `msg="waiting: no interface has an IPv6 default route`)
	if a := top.source(t); a.IsValid() {
		t.Errorf("there is a way to IPv4, from %v, without an uplink", a)
	}
	top.setUp(t, true)
	eventually(t, "IPv4 is back", func() bool { return strings.Count(p.said(), `msg="on: `) == 2 })
	top.ping4(t)
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}
