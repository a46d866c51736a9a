package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"uclat/clat/config"
	"uclat/platform"
)

var errBroken = errors.New("broken")

// setting fails for all but the zero value, clearing for that one only.
func setting(want platform.HostConfig) error {
	if want.TUN != "" {
		return errBroken
	}
	return nil
}

func clearing(want platform.HostConfig) error {
	if want.TUN == "" {
		return errBroken
	}
	return nil
}

// withClash has an address of another interface cover ours.
func withClash(s *platform.Snapshot) {
	s.Addrs = append(s.Addrs, platform.Address{Link: 2, Prefix: netip.MustParsePrefix("100.64.0.7/10")})
}

const clash = "off: interface.ipv4 = 100.64.46.4 overlaps with 100.64.0.7/10 on eth0: choose another, such as 192.0.0.2 (interface.ipv4) and " +
	"192.0.0.3 (interface.self-ipv4)"

// What cannot be at the start ends Run, and leaves nothing.
func TestStartFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		toml  string
		host  platform.Snapshot
		spoil func(*rig)
		err   string
		wrong bool
		want  []string
	}{
		{name: "the host cannot be read", spoil: func(r *rig) { r.eyes.err = errBroken }, err: "reading the host's network: broken"},
		{name: "the host cannot be set up", spoil: func(r *rig) { r.host.fail = setting }, err: "setting up the host: broken", wrong: true,
			want: []string{openTUN, full + ": broken", nothing, closeTUN}},
		{name: "nor put back", spoil: func(r *rig) { r.host.fail = func(platform.HostConfig) error { return errBroken } },
			wrong: true,
			err:   "setting up the host: broken\nputting the host back: broken\nputting the host back: broken",
			want:  []string{openTUN, full + ": broken", nothing + ": broken", closeTUN, nothing + ": broken"}},
		{name: "no device", spoil: func(r *rig) { r.tuns.err = errBroken }, err: "broken", wrong: true, want: []string{"tun: broken"}},
		{name: "no device, while there is nothing to do", host: laptop(withIPv4), spoil: func(r *rig) { r.tuns.err = errBroken }, err: "broken",
			wrong: true, want: []string{"tun: broken"}},
		{name: "addresses clash", host: laptop(withClash), err: clash, wrong: true},
		{name: "address.ipv6 is missing", toml: "path = 'kernel'", err: "address.ipv6 is not set", wrong: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				if tt.host.Links == nil {
					tt.host = laptop()
				}
				if tt.toml == "" {
					tt.toml = pinned
				}
				r, o := newRig(t, tt.toml, tt.host)
				if tt.spoil != nil {
					tt.spoil(r)
				}
				r.run(o)
				err := <-r.ended
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) || errors.Is(err, ErrWrong) != tt.wrong {
					t.Errorf("got %v (wrong: %v), want %s (wrong: %v)", err, errors.Is(err, ErrWrong), tt.err, tt.wrong)
				}
				r.expect(tt.want...)
			})
		})
	}
}

// Later the same is no reason to end: the network may change again.
func TestClashLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.eyes.change(laptop(withClash), nil)
		r.after(time.Second)
		r.expect(openTUN, full, on, firewalls, nothing, closeTUN, stopped, `level=WARN msg="`+clash+`" code=ipv4-overlap`)
		r.eyes.change(laptop(), nil)
		r.after(time.Second)
		r.expect(openTUN, full, on, firewalls)
		_ = r.stop()
	})
}

const again5 = `level=ERROR msg="failed, and will be tried again" error=`

func TestHostFailsLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop(withoutRouter))
		r.expect(append(triedTUN, noUplink)...)
		r.host.failWith(setting)
		r.eyes.change(laptop(), nil)
		r.after(time.Second)
		failed := []string{openTUN, full + ": broken", nothing, closeTUN}
		r.expect(append(failed, again5+`"setting up the host: broken"`)...)
		// The same failure is logged once.
		r.after(again)
		r.expect(failed...)
		r.host.failWith(nil)
		r.after(again)
		r.expect(openTUN, full, on, firewalls)
		_ = r.stop()
	})
}

// A change of a running path that fails leaves no half, and is tried again as a whole.
func TestSwapFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.expect(openTUN, full, on, firewalls)
		r.host.failWith(setting)
		r.eyes.change(laptop(func(s *platform.Snapshot) { s.Links[0].MTU6 = 1400 }), nil)
		r.after(time.Second)
		narrow := strings.NewReplacer("1500", "1400", "1480", "1380")
		r.expect(narrow.Replace(full)+": broken", nothing, closeTUN, stopped, again5+`"setting up the host: broken"`)
		r.host.failWith(nil)
		r.after(again)
		r.expect(narrow.Replace(openTUN), narrow.Replace(full), on, firewalls)
		_ = r.stop()
	})
}

// What could not be put back is tried again, and once more at the end.
func TestPuttingBackFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.host.failWith(clearing)
		r.eyes.change(laptop(withIPv4), nil)
		r.after(time.Second)
		r.expect(openTUN, full, on, firewalls, nothing+": broken", closeTUN, stopped, again5+`"putting the host back: broken"`)
		r.after(again)
		r.expect(nothing + ": broken")
		r.host.failWith(nil)
		r.after(again)
		r.expect(nothing, native)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.expect()
	})
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.host.failWith(clearing)
		if err := r.stop(); err == nil || err.Error() != "putting the host back: broken" {
			t.Error(err)
		}
		r.expect(openTUN, full, on, firewalls, nothing+": broken", closeTUN, stopped)
	})
}

func TestHostCannotBeReadLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.eyes.change(laptop(withIPv4), errBroken)
		r.after(time.Second)
		// What is in force stays.
		r.expect(openTUN, full, on, firewalls, again5+`"reading the host's network: broken"`)
		r.eyes.change(laptop(), nil)
		r.after(time.Second)
		r.expect()
		_ = r.stop()
	})
}

func TestDeviceDies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.expect(openTUN, full, on, firewalls)
		for range 3 {
			r.tuns.current().gone <- errors.New("deleted")
			r.after(2 * time.Second)
			r.expect(closeTUN, `level=WARN msg="the TUN device failed, making it again" error="reading packets: deleted"`,
				nothing, stopped, openTUN, full, on, firewalls)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.expect(nothing, closeTUN, stopped)
	})
}

// A device that cannot be made again is tried again: whoever deleted it may give the name back.
func TestDeviceDiesForGood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.expect(openTUN, full, on, firewalls)
		r.tuns.failWith(errors.New("name taken"))
		r.tuns.current().gone <- errors.New("deleted")
		r.after(2 * time.Second)
		r.expect(closeTUN, `level=WARN msg="the TUN device failed, making it again" error="reading packets: deleted"`,
			nothing, stopped, "tun: name taken", again5+`"name taken"`)
		r.tuns.failWith(nil)
		r.after(again)
		r.expect(openTUN, full, on, firewalls)
		_ = r.stop()
	})
}

// The device dies in the moment in which it is taken down anyway.
func TestDeviceDiesWhileStopping(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.expect(openTUN, full, on, firewalls)
		r.host.failWith(func(want platform.HostConfig) error {
			r.tuns.current().gone <- errors.New("deleted")
			<-r.tuns.current().closed
			return nil
		})
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.expect(closeTUN, nothing, `level=WARN msg="the TUN device failed while it was being stopped" error="reading packets: deleted"`, stopped)
	})
}

// A network that offers a PREF64 which makes no sense with our addresses ends nothing.
func TestForeignPREF64(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop())
		r.resolvers.find(time.Hour, "64:ff9b::/96")
		r.after(time.Second)
		r.forget()
		const unused = `level=WARN msg="PREF64 %s, from resolver 2001:db8::53 by RFC 7050, is not used: %s"`
		r.resolvers.find(time.Hour, "2001:db8:c1a7::/48", "2001:db8:1::/64", "64:ff9b::/96")
		r.after(time.Second)
		r.expect(fmt.Sprintf(unused, "2001:db8:c1a7::/48", "it overlaps with address.ipv6 = 2001:db8:c1a7::46/128: use another address, or set "+
			"pref64.prefixes"), fmt.Sprintf(unused, "2001:db8:1::/64", "it holds 2001:db8:1::5, an address of this host"))
		_ = r.stop()
	})
}

// Without eyes the daemon ends: whoever started it starts it again.
func TestWatchingFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.eyes.blinded <- errBroken
		if err := <-r.ended; err == nil || err.Error() != "watching the network: broken" || errors.Is(err, ErrWrong) {
			t.Error(err)
		}
		r.expect(openTUN, full, on, firewalls, nothing, closeTUN, stopped)
	})
}

// A context that ends before or during the first look is no error.
func TestEndsAtOnce(t *testing.T) {
	for _, moment := range []time.Duration{0, firstAnswer - 1, firstAnswer, firstAnswer + 1} {
		bubble(t, func(t *testing.T) {
			r, o := newRig(t, discovered, laptop())
			time.AfterFunc(moment, r.cancel)
			r.run(o)
			if err := <-r.ended; err != nil {
				t.Errorf("%v: %v", moment, err)
			}
		})
	}
}

func TestWrongIsOneLine(t *testing.T) {
	c := config.Default()
	c.Path = config.PathKernel
	if err := Check(&c); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}
