package daemon

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uclat/platform"
	"uclat/platform/nexthop"
)

// An uplink that fails is opened again, and the address is tried anew: who knows who has it now.
func TestLinkFails(t *testing.T) {
	const failed = `level=WARN msg="the uplink failed, opening it again" error="eth0: `
	for _, tt := range []struct {
		name  string
		spoil func(*fakeLink)
		want  []string
	}{
		{"packets", func(k *fakeLink) { k.gone <- errBroken }, []string{closeLink, failed + `reading packets: broken"`}},
		{"Neighbor Discovery", func(k *fakeLink) { k.deaf <- errBroken }, []string{failed + `broken"`, closeLink}},
		{"the kernel's neighbours", func(k *fakeLink) { k.blind <- errBroken }, []string{failed + `broken"`, closeLink}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := startPacket(t, packetTOML, laptop(slaac))
				for range 3 {
					tt.spoil(r.lan.current())
					r.after(rest - time.Millisecond)
					r.expect(tt.want...)
					r.after(3 * time.Second)
					r.expect(openLink, nothing, closeTUN, stopped, checking(first), probing(first), openTUN4, packetHost, onAs(first))
				}
				if err := r.stop(); err != nil {
					t.Error(err)
				}
				r.expect(goesDown...)
			})
		})
	}
}

// It may fail in the moment in which it is given up anyway, or while the first address is tried.
func TestLinkFailsInAnyState(t *testing.T) {
	for _, moment := range []time.Duration{0, time.Second / 2, time.Second, time.Second + latency/2} {
		bubble(t, func(t *testing.T) {
			r, o := newRig(t, packetTOML, laptop(slaac))
			go func() { r.ended <- Run(r.ctx, o) }()
			r.after(moment)
			r.lan.current().gone <- errBroken
			r.after(5 * time.Second)
			if said := r.forget(); said[len(said)-1] != onAs(first) {
				t.Errorf("%v: %q", moment, said)
			}
			_ = r.stop()
		})
	}
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		r.host.failWith(func(platform.HostConfig) error {
			r.lan.current().gone <- errBroken
			<-r.lan.current().closed
			return nil
		})
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.expect(closeLink, nothing, closeTUN, stopped)
	})
}

// At the start somebody has to do something, such as to give the permission. Later, the network may be another one tomorrow.
func TestLinkCannotBeOpened(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*fakeLAN, error)
		want []string
	}{
		{"the link", func(l *fakeLAN, err error) { l.err = err }, []string{"link: broken"}},
		{"the kernel's neighbours", func(l *fakeLAN, err error) { l.table = err }, []string{openLink, closeLink}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r, o := newRig(t, packetTOML, laptop(slaac))
				tt.set(r.lan, errBroken)
				r.run(o)
				if err := <-r.ended; err == nil || err.Error() != "broken" || !errors.Is(err, ErrWrong) {
					t.Error(err)
				}
				r.expect(append(slices.Clone(triedTUN), tt.want...)...)
				r.lan.left()
			})
			bubble(t, func(t *testing.T) {
				r := start(t, packetTOML, laptop(slaac, down))
				r.expect(append(slices.Clone(triedTUN), noUplink)...)
				r.lan.set(func(l *fakeLAN) { tt.set(l, errBroken) })
				r.eyes.change(laptop(slaac), nil)
				r.after(again + time.Second)
				r.expect(slices.Concat(tt.want, []string{again5 + "broken"}, tt.want)...) // which is said once
				r.lan.set(func(l *fakeLAN) { tt.set(l, nil) })
				r.after(again + 2*time.Second)
				r.expect(comesUp(first)...)
				_ = r.stop()
			})
		})
	}
}

// On another uplink another address is tried, and IPv4 is off meanwhile: nobody answers for the old one. The TUN stays.
func TestAnotherUplink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		r.eyes.change(laptop(slaac, func(s *platform.Snapshot) {
			s.Links = append(s.Links, platform.Link{Index: 7, Name: "eth1", MTU: 1500, MTU6: 1500, Up: true, L2: true, Hardware: "02:00:00:00:00:07"})
			s.Addrs = append(s.Addrs, platform.Address{Link: 7, Prefix: netip.MustParsePrefix("2001:db8:7::5/64"), Autoconf: true})
			s.Routes[0].Link = 7
		}), nil)
		r.after(3 * time.Second)
		const there = "2001:db8:7:0:91c8:fffb:5fe5:453b"
		eth1 := strings.NewReplacer("eth0", "eth1")
		r.expect(closeLink, eth1.Replace(openLink), kept(4), eth1.Replace(checking(there)), eth1.Replace(probing(there)), packetHost,
			flows(eth1.Replace(onAs(there)), lost(4, wkp)))
		_ = r.stop()
		r.expect(nothing, closeTUN, stopped, eth1.Replace(closeLink))
	})
}

// Another link-layer address, as Wi-Fi takes one for each network, is no reason to begin anew.
func TestLinkLayerAddressChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		r.eyes.change(laptop(slaac, withUs4, func(s *platform.Snapshot) { s.Links[0].Hardware = "02:00:00:00:00:06" }), nil)
		r.after(time.Minute)
		r.expect()
		_ = r.stop()
	})
}

// Native IPv4 ends all of it, in whatever state.
func TestNativeIPv4OnPacketPath(t *testing.T) {
	for _, tt := range []struct {
		moment time.Duration
		want   []string
	}{
		{0, []string{openLink, checking(first), closeLink, native}},
		{time.Second, []string{openLink, checking(first), probing(first), closeLink, native}},
		{time.Minute, append(comesUp(first), append(slices.Clone(goesDown), native)...)},
	} {
		bubble(t, func(t *testing.T) {
			r, o := newRig(t, packetTOML, laptop(slaac))
			r.lan.mute = tt.moment < time.Minute
			go func() { r.ended <- Run(r.ctx, o) }()
			r.after(tt.moment)
			r.eyes.change(laptop(slaac, withIPv4), nil)
			r.after(1500 * time.Millisecond)
			r.expect(append(slices.Clone(triedTUN), tt.want...)...)
			r.eyes.change(laptop(slaac), nil)
			r.lan.set(func(l *fakeLAN) { l.mute = false })
			r.after(5 * time.Second)
			r.expect(comesUp(first)...)
			_ = r.stop()
		})
	}
}

// Where the host begins to forward IPv6, its kernel must not speak for our address: also for one that is tried beside it.
func TestForwardingIsTurnedOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		forwarding := func(s *platform.Snapshot) { s.Forwarding6 = true }
		r.eyes.change(laptop(slaac, withUs4, forwarding), nil)
		r.after(time.Second)
		r.expect(packetHost + ", blackhole " + first + "/128")
		r.lan.set(func(l *fakeLAN) { l.silent[netip.MustParseAddr(moved)] = true })
		r.eyes.change(laptop(slaac, withUs4, forwarding, renumbered), nil)
		r.after(2 * time.Second)
		r.expect(packetHost + ", blackhole " + moved + "/128, blackhole " + first + "/128")
		r.lan.set(func(l *fakeLAN) { clear(l.silent) })
		r.after(2 * time.Second)
		r.expect(movedHost+", blackhole "+moved+"/128, blackhole "+first+"/128", movedOn)
		r.eyes.change(laptop(slaac, withUs4, renumbered), nil)
		r.after(time.Second)
		r.expect(movedHost)
		_ = r.stop()
	})
}

// So it is while an address is tried: a solicitation that the kernel sends for it would look like somebody else's.
func TestHostForwards(t *testing.T) {
	forwarding := func(s *platform.Snapshot) { s.Forwarding6 = true }
	hole := func(a string) string { return ", blackhole " + a + "/128" }
	only := func(a string) string { return "host: blackhole " + a + "/128" }
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, packetTOML, laptop(slaac, forwarding))
		r.lan.taken[netip.MustParseAddr(first)] = true
		r.run(o)
		r.after(time.Second)
		r.expect(append(slices.Clone(triedTUN), openLink, only(first), checking(first), taken(first), only(second), checking(second), probing(second),
			openTUN4, packetHost+hole(second), onAs(second))...)
		_ = r.stop()
		r.expect(goesDown...)
	})
	// It begins to forward while the address is tried, and ends.
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, packetTOML, laptop(slaac))
		r.lan.mute = true
		r.run(o)
		r.expect(append(slices.Clone(triedTUN), openLink, checking(first), probing(first))...)
		r.eyes.change(laptop(slaac, forwarding), nil)
		r.after(time.Second)
		r.expect(only(first))
		r.eyes.change(laptop(slaac), nil)
		r.after(gap)
		r.expect(nothing)
		_ = r.stop()
		r.expect(closeLink)
	})
	// Somebody takes it away, and then it is the end, while only that is there.
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, packetTOML, laptop(slaac, forwarding))
		r.lan.mute = true
		r.run(o)
		r.expect(append(slices.Clone(triedTUN), openLink, only(first), checking(first), probing(first))...)
		r.host.tamper()
		r.after(gap)
		r.expect(only(first))
		_ = r.stop()
		r.expect(nothing, closeLink)
	})
}

func TestDeviceDiesOnPacketPath(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		r.tuns.current().gone <- errors.New("deleted")
		r.after(5 * time.Second)
		r.expect(append([]string{closeTUN, `level=WARN msg="the TUN device failed, making it again" error="reading packets: deleted"`,
			nothing, stopped, closeLink}, comesUp(first)...)...)
		_ = r.stop()
	})
}

// The device cannot be made, or the host not set up, when an address can be used at last.
func TestHostFailsOnPacketPath(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(*rig, error)
		want []string
		err  string
	}{
		{"device", func(r *rig, err error) { r.tuns.failWith(err) }, []string{"tun: broken", closeLink}, "broken"},
		{"host", func(r *rig, err error) {
			r.host.failWith(func(want platform.HostConfig) error {
				if err != nil {
					return setting(want)
				}
				return nil
			})
		}, []string{openTUN4, packetHost + ": broken", nothing, closeTUN, closeLink}, `"setting up the host: broken"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r, o := newRig(t, packetTOML, laptop(slaac))
				go func() { r.ended <- Run(r.ctx, o) }()
				synctest.Wait()
				tt.fail(r, errBroken)
				r.after(2 * time.Second)
				r.expect(slices.Concat(triedTUN, []string{openLink, checking(first), probing(first)}, tt.want, []string{again5 + tt.err})...)
				tt.fail(r, nil)
				r.after(10 * time.Second)
				r.expect(comesUp(first)...)
				if err := r.stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// It may end at any time, whatever it is waiting for.
func TestEndsInAnyState(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fakeLAN)
	}{
		{"all is well", func(*fakeLAN) {}},
		{"nothing comes back", func(l *fakeLAN) { l.mute = true }},
		{"the first address is taken", func(l *fakeLAN) { l.taken[netip.MustParseAddr(first)] = true }},
		{"the router is not known", func(l *fakeLAN) { l.hop = nexthop.Hop{Gateway: routerAddr} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, moment := range []time.Duration{0, time.Second / 2, time.Second, time.Second + latency, 1500 * time.Millisecond, 4 * time.Second,
				5 * time.Second, 6 * time.Second, 9 * time.Second, time.Minute, 70 * time.Second} {
				bubble(t, func(t *testing.T) {
					r, o := newRig(t, packetTOML, laptop(slaac))
					tt.change(r.lan)
					go func() { r.ended <- Run(r.ctx, o) }()
					r.after(moment)
					if err := r.stop(); err != nil {
						t.Errorf("%v: %v", moment, err)
					}
					if open := r.tuns.names(); len(open) > 0 {
						t.Errorf("%v: %q stay open", moment, open)
					}
					if is := r.host.is; is != "" && is != strings.TrimPrefix(nothing, "host: ") {
						t.Errorf("%v: the host is left with %s", moment, is)
					}
				})
			}
		})
	}
}
