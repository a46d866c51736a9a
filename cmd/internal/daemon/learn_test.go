package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/discovery"
)

// What the routers and resolvers of these tests tell.
const (
	wkp = "64:ff9b::/96"
	nsp = "2001:db8:64::/96"
	six = "2001:db8:6464::/48"
)

// ofSecond is the address that the host makes for 100.64.46.6 on its first network.
const ofSecond = "2001:db8:1:0:a5ab:3703:ab18:bcd1"

// announces is an advertisement of the router on eth0 that names PREF64s.
func announces(lifetime time.Duration, prefixes ...string) discovery.Advertisement {
	return discovery.Advertisement{
		Link: 2, Router: routerAddr, Hardware: routerMAC.String(), Lifetime: 9000 * time.Second, PREF64: offers(lifetime, prefixes...),
	}
}

// by is an advertisement of another router, whose link-layer address ends as its own does.
func by(router string, a discovery.Advertisement) discovery.Advertisement {
	a.Router = netip.MustParseAddr(router)
	a.Hardware = fmt.Sprintf("02:00:00:00:00:%02x", int(routerMAC[5]-1)+int(a.Router.As16()[15]))
	return a
}

// onRA is that the CLAT is on with what a router told, on path kernel; onRAs is so on path packet.
func onRA(prefix string) string {
	return fmt.Sprintf(`level=INFO msg="on: IPv4 through eth0, PREF64 %s (from router fe80::1 by RA), as 2001:db8:c1a7::46" code=on`, prefix)
}

func onRAs(prefix, as string) string {
	return fmt.Sprintf(`level=INFO msg="on: IPv4 through eth0, PREF64 %s (from router fe80::1 by RA), as %s, path packet" code=on`, prefix, as)
}

func onDNSs(prefix, as string) string {
	return strings.Replace(onRAs(prefix, as), "router fe80::1 by RA", "resolver 2001:db8::53 by RFC 7050", 1)
}

// hostOf is the host with these IPv4 addresses, the first for new connections, on path packet; kernelOf is so on path kernel, with PREF64s.
func hostOf(last ...int) string {
	var all []string
	for _, n := range last {
		all = append(all, fmt.Sprintf("100.64.46.%d/32", n))
	}
	return fmt.Sprintf("host: clat0 mtu 1480 %v, route 0.0.0.0/0 src 100.64.46.%d metric 2000000 mtu 1480", all, last[0])
}

func kernelOf(prefixes string, last ...int) string {
	return strings.Replace(hostOf(last...), "1480", "1500", 1) + ", route 2001:db8:c1a7::46/128, " + forward + "[" + prefixes + "]"
}

// A router that tells a PREF64 at once is all that is asked, and IPv4 is there at the next look.
func TestRouterTellsAtStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, discovered, laptop())
		time.AfterFunc(100*time.Millisecond, func() { r.routers.announce(announces(time.Hour, wkp)) })
		go func() { r.ended <- Run(r.ctx, o) }()
		r.after(100*time.Millisecond + settle)
		r.expect(openTUN, full, onRA(wkp), firewalls)
		r.after(time.Minute)
		r.expect()
		if r.resolvers.wereAsked() {
			t.Error("resolvers were asked")
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

// On path packet the address is tried while nobody has told a PREF64 yet only if it was in use; so it is the PREF64 that it takes, and DAD.
func TestRouterTellsAtStartOnPacketPath(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, "", laptop(slaac))
		time.AfterFunc(100*time.Millisecond, func() { r.routers.announce(announces(time.Hour, wkp)) })
		go func() { r.ended <- Run(r.ctx, o) }()
		r.after(100*time.Millisecond + settle + time.Second + 10*latency)
		r.expect(append(slices.Clone(triedTUN), openLink, checking(first), probing(first), openTUN4, packetHost, onRAs(wkp, first))...)
		if r.resolvers.wereAsked() {
			t.Error("resolvers were asked")
		}
		_ = r.stop()
		r.expect(goesDown...)
	})
}

// Resolvers are asked a second after the routers, or as soon as one of these has spoken of other things; those of the link, if it names any.
func TestResolversAreAskedAfterRouters(t *testing.T) {
	servers := func(lifetime time.Duration, addrs ...string) (all []discovery.Resolver) {
		for _, a := range addrs {
			all = append(all, discovery.Resolver{Addr: netip.MustParseAddr(a), Lifetime: lifetime})
		}
		return all
	}
	says := discovery.Advertisement{Link: 2, Router: routerAddr, Lifetime: time.Hour, Servers: servers(time.Hour, "2001:db8::53", "fe80::1")}
	for _, tt := range []struct {
		name string
		said discovery.Advertisement // after 200 ms
		when time.Duration           // resolvers are asked
		want string
	}{
		{"routers are silent", discovery.Advertisement{}, headStart, "eth0"},
		{"none answers", discovery.Advertisement{Link: 2}, 200*time.Millisecond + settle, "eth0"},
		{"one tells no PREF64", says, 200*time.Millisecond + settle, "eth0 2001:db8::53 fe80::1"},
		{"so does one that is not trusted", by("fe80::2", says), 200*time.Millisecond + settle, "eth0"},
		{"one tells a PREF64, and is not trusted", by("fe80::2", announces(time.Hour, wkp)), 200*time.Millisecond + settle, "eth0"},
		{"one tells a PREF64 that cannot be used", announces(time.Hour, "2001:db8:1::/64"), 200*time.Millisecond + settle, "eth0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r, o := newRig(t, discovered, laptop())
				if tt.said.Link != 0 {
					time.AfterFunc(200*time.Millisecond, func() { r.routers.announce(tt.said) })
				}
				go func() { r.ended <- Run(r.ctx, o) }()
				r.after(tt.when - time.Millisecond)
				if r.resolvers.wereAsked() {
					t.Error("asked too early")
				}
				r.after(2 * time.Millisecond)
				if got := r.resolvers.askedOn(); !slices.Equal(got, []string{tt.want}) {
					t.Errorf("asked on %q, want %q", got, tt.want)
				}
				_ = r.stop()
			})
		})
	}
}

// A resolver that goes with a router's word goes with its end.
func TestAnnouncedResolversEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop())
		r.routers.announce(discovery.Advertisement{Link: 2, Router: routerAddr, Lifetime: time.Hour,
			Servers: []discovery.Resolver{{Addr: netip.MustParseAddr("2001:db8::53"), Lifetime: 10 * time.Minute}}})
		r.after(10*time.Minute - time.Second)
		if got := r.resolvers.askedOn(); !slices.Equal(got, []string{"eth0 2001:db8::53"}) {
			t.Errorf("asked on %q", got)
		}
		r.after(2 * time.Second)
		if got := r.resolvers.askedOn(); !slices.Equal(got, []string{"eth0"}) {
			t.Errorf("asked on %q, when the lifetime is over", got)
		}
		_ = r.stop()
	})
}

// What a router tells goes before what a resolver told, whose connections go on; and when it takes that back, the resolver's word counts again.
func TestRouterAfterResolver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop())
		r.resolvers.find(24*time.Hour, wkp)
		r.after(time.Second)
		r.forget()
		r.routers.announce(announces(24*time.Hour, nsp))
		r.after(settle)
		r.expect(kernelOf(nsp+" "+wkp, 6, 4), flows(change(onRA(nsp), byRA(nsp, "appeared for 24h0m0s")),
			"those of 100.64.46.4 go on through 64:ff9b::/96; new ones are of 100.64.46.6"))
		if got := r.resolvers.askedOn(); len(got) > 0 {
			t.Errorf("resolvers are asked on %q", got)
		}
		for from, to := range map[string]string{"100.64.46.4": "64:ff9b::c000:201", "100.64.46.6": "2001:db8:64::c000:201"} {
			out := r.send(udp4(from, "192.0.2.1"))
			if source(out) != "2001:db8:c1a7::46" || destination(out) != to {
				t.Errorf("%s: from %s to %s, want %s", from, source(out), destination(out), to)
			}
			if in := r.send(answer(out)); in[0]>>4 != 4 || netip.AddrFrom4([4]byte(in[16:])).String() != from {
				t.Errorf("%s: comes back as % x", from, in)
			}
		}
		r.routers.announce(announces(0, nsp))
		r.after(settle)
		r.expect(kernelOf(wkp, 4), flows(change(strings.Replace(onDNS, nsp, wkp, 1), byRA(nsp, "withdrawn")),
			"those of 100.64.46.6 are lost; new ones are of 100.64.46.4"))
		if got := r.resolvers.askedOn(); !slices.Equal(got, []string{"eth0"}) {
			t.Errorf("resolvers are asked on %q", got)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}
