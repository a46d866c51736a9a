package daemon

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uclat/platform"
)

// openV4 is the device of another name, opened while the old one runs.
const openV4 = "tun: open v4 mtu 1280"

// The device has its name from the moment in which it is opened. Our own of the old name is no obstacle.
func TestReloadInterfaceName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.eyes.change(laptop(withUs), nil)
		r.after(time.Second)
		r.forget()
		r.reload(pinned + "\ninterface.name = 'v4'")
		named := strings.NewReplacer("clat0", "v4")
		r.expect(openV4, reloaded+`interface.name"`, nothing, closeTUN, stopped, named.Replace(full), on, named.Replace(firewalls))
		_ = r.stop()
		r.expect(nothing, named.Replace(closeTUN), stopped)
	})
}

// The new name of the device may be taken: then the old one stays, also where it is not there yet.
func TestReloadInterfaceNameIsTaken(t *testing.T) {
	for _, tt := range []struct {
		name string
		host platform.Snapshot
	}{{"on", laptop()}, {"waiting", laptop(withoutRouter)}} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, pinned, tt.host)
				r.forget()
				devices := r.tuns.names()
				r.tuns.failWith(errors.New("name taken"))
				r.reload(pinned + "\ninterface.name = 'v4'")
				r.expect("tun: name taken", refused+`name taken"`)
				if now := r.tuns.names(); !slices.Equal(now, devices) {
					t.Errorf("%q are open, were %q", now, devices)
				}
				r.reload(pinned)
				r.expect(unchanged)
				_ = r.stop()
			})
		})
	}
}

// A device that was opened for a configuration which is not applied does not stay.
func TestReloadLeavesNoDevice(t *testing.T) {
	const named = "\ninterface.name = 'v4'"
	const closeV4 = "tun: close v4"
	onlyClat0 := func(t *testing.T, r *rig) {
		t.Helper()
		if got := r.tuns.names(); !slices.Equal(got, []string{"clat0"}) {
			t.Errorf("%q are open", got)
		}
		if out := r.send(udp4("100.64.46.4", "192.0.2.1")); destination(out) != "64:ff9b::c000:201" {
			t.Errorf("% x", out)
		}
	}
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, r *rig)
	}{
		{"what it is for is refused", func(t *testing.T, r *rig) {
			r.reload(pinned + named + "\nuplink = 'eth7'")
			r.expect(openV4, closeV4, refused+`waiting: there is no interface eth7 (uplink)"`)
			onlyClat0(t, r)
		}},
		{"the old name comes back before the new one is there", func(t *testing.T, r *rig) {
			r.hangUp(discovered + named)
			r.expect(openV4, reloaded+`interface.name, pref64.prefixes"`)
			r.reload(pinned)
			r.expect(reloaded+`interface.name, pref64.prefixes"`, closeV4)
			onlyClat0(t, r)
		}},
		{"yet another name comes before", func(t *testing.T, r *rig) {
			r.hangUp(discovered + named)
			r.hangUp(discovered + "\ninterface.name = 'v5'")
			r.expect(openV4, reloaded+`interface.name, pref64.prefixes"`, "tun: open v5 mtu 1280", closeV4, reloaded+`interface.name"`)
			r.reload(pinned)
			r.expect(reloaded+`interface.name, pref64.prefixes"`, "tun: close v5")
			onlyClat0(t, r)
		}},
		{"the same name comes again", func(t *testing.T, r *rig) {
			r.hangUp(discovered + named)
			r.hangUp(discovered + named + aMap)
			r.reload(pinned)
			r.expect(openV4, reloaded+`interface.name, pref64.prefixes"`, reloaded+`map"`, reloaded+`interface.name, pref64.prefixes, map"`, closeV4)
			onlyClat0(t, r)
		}},
		{"the old name comes back when its device has failed", func(t *testing.T, r *rig) {
			clat0 := r.tuns.current()
			r.hangUp(discovered + named)
			r.hangUp(discovered)
			clat0.gone <- errors.New("deleted")
			synctest.Wait()
			r.resolvers.find(time.Hour, "64:ff9b::/96")
			r.after(2 * time.Second)
			if said := r.forget(); !slices.Contains(said, openTUN) || !slices.Contains(said, closeV4) {
				t.Errorf("%q", said)
			}
			onlyClat0(t, r)
		}},
		{"it is off meanwhile", func(t *testing.T, r *rig) {
			r.hangUp(discovered + named)
			r.after(firstAnswer)
			r.expect(openV4, reloaded+`interface.name, pref64.prefixes"`, nothing, closeTUN, stopped, noPREF64, closeV4)
		}},
		{"it is the end", func(t *testing.T, r *rig) {
			r.hangUp(discovered + named)
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			r.expect(openV4, reloaded+`interface.name, pref64.prefixes"`, nothing, closeTUN, stopped, closeV4)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, pinned, laptop())
				r.forget()
				tt.run(t, r)
				r.cancel()
				synctest.Wait()
				if open := r.tuns.names(); len(open) > 0 {
					t.Errorf("%q stay open", open)
				}
			})
		})
	}
}
