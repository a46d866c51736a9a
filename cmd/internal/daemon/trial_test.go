package daemon

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/platform"
)

func TestDuplicateAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, packetTOML, laptop(slaac))
		r.lan.taken[netip.MustParseAddr(first)] = true
		r.run(o)
		r.after(time.Second)
		r.expect(append(slices.Clone(triedTUN), openLink, checking(first), taken(first), checking(second), probing(second), openTUN4, packetHost,
			onAs(second))...)
		// It stays so, as long as the link is up.
		r.lan.set(func(l *fakeLAN) { clear(l.taken) })
		r.eyes.change(laptop(slaac, withUs4), nil)
		r.after(24 * time.Hour)
		r.expect()
		r.eyes.change(laptop(slaac, down), nil)
		r.after(2 * time.Second)
		r.expect(closeLink, kept(4), noUplink)
		r.eyes.change(laptop(slaac), nil)
		r.after(3 * time.Second)
		r.expect(openLink, checking(first), probing(first), packetHost, flows(onAs(first), lost(4, wkp)))
		_ = r.stop()
	})
}

// Who has what may change while the link is down.
func TestDuplicateIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, packetTOML, laptop(slaac))
		r.lan.all = true
		r.run(o)
		r.forget()
		r.lan.set(func(l *fakeLAN) { l.all = false })
		r.eyes.change(laptop(slaac, down), nil)
		r.after(time.Second)
		r.expect(noUplink)
		r.eyes.change(laptop(slaac), nil)
		r.after(3 * time.Second)
		r.expect(comesUp(first)...)
		_ = r.stop()
	})
}

// down is a host whose uplink has no carrier, so that its routes are gone.
func down(s *platform.Snapshot) {
	s.Links[0].Up = false
	s.Routes = nil
}

// Where all addresses are taken, it is tried again a minute later, and then less and less often.
func TestNoAddressIsFree(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, packetTOML, laptop(slaac))
		r.lan.all = true
		r.run(o)
		var tried []string
		for _, a := range []string{first, second, third, fourth} {
			tried = append(tried, checking(a), taken(a))
		}
		const off = `level=INFO msg="off: no address is free on eth0: all 4 addresses that were tried in 2001:db8:1::/64 are taken" ` +
			`code=duplicate-address`
		r.expect(slices.Concat(triedTUN, []string{openLink}, tried, []string{closeLink, off})...)
		r.after(grudge - 10*time.Second)
		r.expect()
		asked := func(during time.Duration) bool { // whether it tries anything
			r.after(during)
			return len(r.forget()) > 0
		}
		if !asked(20 * time.Second) {
			t.Error("nothing is tried after a minute")
		}
		r.after(10 * mostGrudge)
		r.forget()
		quiet, longest := 0, 0
		for range 200 { // minutes
			if quiet++; asked(time.Minute) {
				quiet = 0
			}
			longest = max(longest, quiet)
		}
		if longest < 10 || longest > 62 {
			t.Errorf("%d minutes without a try, after ten hours", longest)
		}
		r.lan.set(func(l *fakeLAN) { l.all = false })
		r.after(2 * mostGrudge)
		if said := r.forget(); len(said) == 0 || !strings.Contains(said[len(said)-1], "code=on") {
			t.Errorf("%q", said)
		}
		_ = r.stop()
	})
	bubble(t, func(t *testing.T) {
		const ours = "2001:db8:1::46"
		r, o := newRig(t, "address.ipv6 = '"+ours+"'\n"+packetTOML, laptop(slaac))
		r.lan.all = true
		r.run(o)
		r.expect(append(slices.Clone(triedTUN), openLink, checking(ours), closeLink,
			`level=INFO msg="off: 2001:db8:1::46 (address.ipv6) is in use on eth0 by 02:00:00:00:00:99: choose another" code=duplicate-address`)...)
		_ = r.stop()
	})
}

// Somebody else insists on the address that is in use.
func TestConflict(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		for range 3 {
			r.lan.current().nd <- claim(netip.MustParseAddr(first))
			r.after(time.Second)
		}
		r.after(time.Second)
		r.expect(taken(first), kept(4), checking(second), probing(second), packetHost, flows(onAs(second), lost(4, wkp)))
		_ = r.stop()
	})
}

const unseen = "no answer to 3 echo requests with hop limit 1 to 64:ff9b::c000:9, and the router fe80::1 does not answer neighbour " +
	"solicitations from "

// An address that nothing comes back to is tried once more with another, and that one is used all the same.
func TestDegraded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, packetTOML, laptop(slaac))
		r.lan.mute = true
		r.run(o)
		r.after(10 * time.Second)
		degraded := strings.NewReplacer("INFO", "WARN", "on: IPv4", "on, degraded: IPv4", `path packet"`, `path packet: `+unseen+second+`"`, "code=on", "code=degraded")
		r.expect(append(slices.Clone(triedTUN), openLink, checking(first), probing(first), checking(second), probing(second), openTUN4, packetHost,
			degraded.Replace(onAs(second)))...)
		r.after(24 * time.Hour)
		r.expect()
		r.lan.set(func(l *fakeLAN) { l.mute = false })
		r.after(2 * time.Minute)
		r.expect(onAs(second))
		_ = r.stop()
	})
}

// Mode force asks nobody whether answers come back.
func TestForce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, "mode = 'force'\n"+packetTOML, laptop(slaac))
		r.lan.mute = true
		r.run(o)
		r.expect(append(slices.Clone(triedTUN), openLink, checking(first), openTUN4, packetHost, onAs(first))...)
		r.reload(packetTOML)
		r.after(time.Hour)
		r.expect(reloaded + `mode"`)
		_ = r.stop()
	})
}

// renumbered is a host whose prefix is deprecated, beside a new one.
func renumbered(s *platform.Snapshot) {
	s.Addrs[0].Deprecated = true
	s.Addrs = append(s.Addrs, platform.Address{Link: 2, Prefix: netip.MustParsePrefix("2001:db8:2::5/64"), Autoconf: true})
}

// The address in use stays until another one has been seen to work, and then for what uses it, as long as there is its prefix.
func TestRenumbering(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		link := r.lan.current()
		from := func(v4 string) string {
			r.tuns.current().in <- udp4(v4, "198.51.100.5")
			return source(<-link.out)
		}
		r.lan.set(func(l *fakeLAN) { l.silent[netip.MustParseAddr(moved)] = true })
		r.eyes.change(laptop(slaac, renumbered), nil)
		r.after(2500 * time.Millisecond)
		if got := r.lan.accepted(); !slices.Equal(got, []string{first, moved}) || from("100.64.46.4") != first {
			t.Errorf("listens for %q", got)
		}
		r.expect()
		r.lan.set(func(l *fakeLAN) { clear(l.silent) })
		r.after(time.Second)
		r.expect(movedHost, movedOn)
		if got := r.lan.accepted(); !slices.Equal(got, []string{first, moved}) || from("100.64.46.4") != first || from("100.64.46.6") != moved {
			t.Errorf("listens for %q", got)
		}
		// The old one goes: sockets that are bound to its IPv4 address live on, with an address that is tried first.
		r.eyes.change(laptop(slaac, renumbered, func(s *platform.Snapshot) { s.Addrs = s.Addrs[1:] }), nil)
		r.after(time.Minute)
		r.expect(info("connections: those of 100.64.46.4 through 64:ff9b::/96 are lost"))
		if got := r.lan.accepted(); len(got) != 2 || slices.Contains(got, first) || !slices.Contains(got, from("100.64.46.4")) ||
			from("100.64.46.6") != moved {
			t.Errorf("listens for %q", got)
		}
		if r.lan.current() != link {
			t.Error("the link was opened anew")
		}
		_ = r.stop()
	})
}

// A prefix that goes without another takes the address with it.
func TestPrefixGoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		r.eyes.change(laptop(slaac, func(s *platform.Snapshot) { s.Addrs = nil }), nil)
		r.after(2 * time.Second)
		r.expect(closeLink, kept(4), noAddress)
		r.after(lingers)
		r.expect(nothing, closeTUN, stopped)
		_ = r.stop()
	})
}

// What was ours is used at once where that was wished for, and it is noted for the next time.
func TestOptimistic(t *testing.T) {
	for _, tt := range []struct {
		name, toml string
		age        time.Duration // since it was ours
		after      time.Duration // when it is used
	}{
		{"yesterday", "address.dad = 'optimistic'\n", 24*time.Hour - time.Second, latency},
		{"too long ago", "address.dad = 'optimistic'\n", 24 * time.Hour, time.Second + latency},
		{"never", "address.dad = 'optimistic'\n", 0, time.Second + latency},
		{"not wished for", "", time.Second, time.Second + latency},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r, o := newRig(t, tt.toml+packetTOML, laptop(slaac))
				if tt.age > 0 {
					r.memory.used[netip.MustParseAddr(first)] = time.Now().Add(-tt.age)
				}
				begin := time.Now()
				r.run(o)
				r.after(time.Second)
				r.expect(append(slices.Clone(triedTUN), comesUp(first)...)...)
				if got := r.memory.firstUse(first).Sub(begin); got != tt.after {
					t.Errorf("used after %v, want %v", got, tt.after)
				}
				if got := r.memory.firstUse(second); !got.IsZero() {
					t.Errorf("the second is noted as used at %v", got)
				}
				_ = r.stop()
			})
		})
	}
}

func TestUseCannotBeNoted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, packetTOML, laptop(slaac))
		r.memory.err = errBroken
		r.run(o)
		r.after(time.Second)
		r.expect(append(append(slices.Clone(triedTUN), comesUp(first)...), `level=WARN msg="keeping the address for the next start" error=broken`)...)
		_ = r.stop()
	})
}
