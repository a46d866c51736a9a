package daemon

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"uclat/clat/checksum"
	"uclat/clat/config"
	"uclat/platform"

	"github.com/google/go-cmp/cmp"
)

// What the transcript says of a configuration that was read again.
const (
	reloaded  = `level=INFO msg="configuration reloaded: `
	refused   = `level=ERROR msg="configuration not reloaded, the old one stays: `
	unchanged = reloaded + `nothing changed"`
)

const aMap = "\n[[map]]\nipv4 = '192.0.2.9'\nipv6 = '2001:db8:9::9'"

// Each key is put in force without a restart, and with no more than it takes.
func TestReload(t *testing.T) {
	withMap := strings.Replace(full, "46/128] <-> [64:ff9b::/96]", "46/128 2001:db8:9::9/128] <-> [64:ff9b::/96 2001:db8:9::9/128]", 1)
	for _, tt := range []struct {
		name     string
		from, to string
		host     platform.Snapshot
		want     []string
	}{
		{name: "nothing", to: pinned + "\n# the same in other words\nmode = 'auto'", want: []string{unchanged}},
		{name: "a mapping comes", to: pinned + aMap, want: []string{reloaded + `map"`, withMap}},
		{name: "a mapping goes", from: pinned + aMap, to: pinned, want: []string{reloaded + `map"`, full}},
		{name: "what only the translator knows", to: pinned + "\ntranslate.ttl-transparent = true\ntranslate.clamp-mss = true",
			want: []string{reloaded + `translate.ttl-transparent, translate.clamp-mss"`}},
		{name: "inbound", to: pinned + "\ninbound = 'all'", want: []string{reloaded + `inbound"`, full + ", all of it"}},
		{name: "metric", to: pinned + "\ninterface.metric = 700",
			want: []string{reloaded + `interface.metric"`, strings.Replace(full, "metric 2000000", "metric 700", 1)}},
		{name: "no default route", to: pinned + "\ninterface.default-route = false",
			want: []string{reloaded + `interface.default-route"`, strings.Replace(full, " route 0.0.0.0/0 src 100.64.46.4 metric 2000000 mtu 1480,", "", 1)}},
		{name: "MTU", to: pinned + "\ninterface.mtu = 1400",
			want: []string{reloaded + `interface.mtu"`, strings.NewReplacer("1500", "1400", "1480", "1380").Replace(full)}},
		{name: "addresses", to: strings.Replace(pinned, "::46", "::47", 1) + "\ninterface.ipv4 = '192.0.0.2'",
			want: []string{reloaded + `interface.ipv4, address.ipv6"`,
				strings.NewReplacer("::46", "::47", "100.64.46.4", "192.0.0.2").Replace(full), flows(strings.Replace(on, "::46", "::47", 1), "those of 100.64.46.4 are lost; new ones are of 192.0.0.2")}},
		{name: "PREF64", to: discovered + "\npref64.prefixes = ['2001:db8:64::/96']",
			want: []string{reloaded + `pref64.prefixes"`, "host: " + fullText + "[2001:db8:64::/96]",
				flows(strings.Replace(on, "64:ff9b::/96", "2001:db8:64::/96", 1), "those of 100.64.46.4 through 64:ff9b::/96 are lost")}},
		{name: "the same uplink, by its name", to: pinned + "\nuplink = 'eth0'", want: []string{reloaded + `uplink"`}},
		{name: "off beside native IPv4", from: pinned + "\nmode = 'on'", to: pinned, host: laptop(withIPv4),
			want: []string{reloaded + `mode"`, nothing, closeTUN, stopped, native}},
		{name: "off", to: "mode = 'off'\n" + pinned, want: []string{reloaded + `mode"`, nothing, closeTUN, stopped,
			`level=INFO msg="off: the configuration says so (mode = off)" code=mode-off`}},
		{name: "on", from: "mode = 'off'", to: pinned,
			want: []string{reloaded + `mode, pref64.prefixes, address.ipv6"`, openTUN, full, on, firewalls}},
		{name: "on beside native IPv4", from: pinned, to: pinned + "\nmode = 'on'", host: laptop(withIPv4),
			want: []string{reloaded + `mode"`, openTUN, full, on, firewalls}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				if tt.from == "" {
					tt.from = pinned
				}
				if tt.host.Links == nil {
					tt.host = laptop()
				}
				tt.to = ordered(tt.to)
				r := start(t, ordered(tt.from), tt.host)
				r.forget()
				r.reload(tt.to)
				r.expect(tt.want...)
				r.reload(tt.to)
				r.expect(unchanged)
				if err := r.stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// ordered has the tables of a file behind what stands outside of them.
func ordered(toml string) string {
	lines := strings.Split(toml, "\n")
	slices.SortStableFunc(lines, func(a, b string) int {
		table := func(s string) int {
			if strings.HasPrefix(s, "[") || strings.HasPrefix(s, "ipv") {
				return 1
			}
			return 0
		}
		return table(a) - table(b)
	})
	return strings.Join(lines, "\n")
}

// A configuration that cannot be leaves everything as it is: the host is not even asked.
func TestReloadRefused(t *testing.T) {
	for _, tt := range []struct {
		name, toml, why string
		host            platform.Snapshot
		err             error
	}{
		{name: "no TOML", toml: "mode = on", why: "test.toml:1: is not TOML: "},
		{name: "two mistakes are one line", toml: pinned + "\nmode = 'maybe'\ninterface.mtu = 1",
			why: `test.toml:3: mode: \"maybe\": is not one of auto, on, off, force; ` +
				`test.toml:4: interface.mtu: 1: is out of range: 0 or 1280 to 65535"`},
		{name: "many mistakes are a few", toml: "map = [" + strings.Repeat("{}, ", 100) + "]",
			why: strings.Repeat("test.toml:1: map: needs both ipv4 and ipv6; ", mostReasons) + "and 95 more, which `uclat check` tells\""},
		{name: "an address is missing", toml: "path = 'kernel'\npref64.prefixes = ['64:ff9b::/96']", why: "address.ipv6 is not set: "},
		{name: "it cannot be translated", toml: "address.ipv6 = '2001:db8:c1a7::/64'\n" +
			"map = [{ipv4 = '192.0.2.1', ipv6 = '2001:db8:c1a7:0:64:402e:400:0'}]\npref64.prefixes = ['64:ff9b::/96']",
			why: "address mapping: 2001:db8:c1a7:0:64:402e:400:0/128 is mapped twice"},
		{name: "an address that the host has", toml: pinned + "\ninterface.ipv4 = '100.64.0.9'", host: laptop(withClash),
			why: "off: interface.ipv4 = 100.64.0.9 overlaps with 100.64.0.7/10 on eth0: choose another, "},
		{name: "an uplink that is not there", toml: pinned + "\nuplink = 'eth7'", why: `waiting: there is no interface eth7 (uplink)"`},
		{name: "an uplink that leads nowhere", toml: pinned + "\nuplink = 'eth1'", host: laptop(withSecond),
			why: `waiting: eth1 (uplink) has no IPv6 route toward the PLAT"`},
		{name: "an uplink that is not there, and a PREF64 that is to be found", toml: discovered + "\nuplink = 'eth7'",
			why: `waiting: there is no interface eth7 (uplink)"`},
		{name: "nobody knows what the host has", toml: pinned + aMap, err: errBroken, why: `reading the host's network: broken"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				from := pinned + "\ninterface.ipv4 = '192.0.0.2'\ninterface.self-ipv4 = '192.0.0.3'"
				if tt.host.Links == nil {
					tt.host = laptop()
				}
				r := start(t, from, tt.host)
				r.forget()
				r.eyes.change(tt.host, tt.err)
				if tt.err == nil {
					r.after(time.Second)
				}
				asked := r.host.asked()
				r.reload(tt.toml)
				got := r.forget()
				if len(got) == 0 || !strings.HasPrefix(got[0], refused+tt.why) || len(got[0]) > 1000 {
					t.Errorf("said %q, want %s", got, refused+tt.why)
				}
				if now := r.host.asked(); now != asked || tt.err == nil && len(got) != 1 {
					t.Errorf("the host was asked %d times, and it said %q", now-asked, got)
				}
				if out := r.send(udp4("192.0.0.2", "192.0.2.1")); source(out) != "2001:db8:c1a7::46" || destination(out) != "64:ff9b::c000:201" {
					t.Errorf("% x", out)
				}
				r.eyes.change(laptop(), nil)
				r.reload(from)
				r.expect(unchanged)
				if err := r.stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A learned PREF64 holds for the next configuration too, and what does not go with it is refused.
func TestReloadWithLearnedPREF64(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop())
		r.resolvers.find(time.Hour, "2001:db8:64::/96")
		r.after(time.Second)
		r.forget()
		r.reload(strings.Replace(discovered, "c1a7", "64", 1))
		r.expect(refused + "address mapping: 2001:db8:64::46/128 lies in the PREF64 2001:db8:64::/96, from which the NAT64 accepts nothing " +
			`(RFC 6146, 3.5)"`)
		r.reload(discovered + aMap)
		r.expect(reloaded+`map"`, "host: "+strings.Replace(fullText, "46/128] <-> ", "46/128 2001:db8:9::9/128] <-> ", 1)+
			"[2001:db8:64::/96 2001:db8:9::9/128]")
		if on, knocked := r.resolvers.askedOn(), r.resolvers.knocked(); !slices.Equal(on, []string{"eth0"}) || knocked != 0 {
			t.Errorf("resolvers are asked on %q, and were asked anew %d times", on, knocked)
		}
		_ = r.stop()
	})
}

// So is it where nothing runs, though it should: the PREF64 is known, and would be lost.
func TestReloadWithLearnedPREF64WhileTheHostFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop())
		r.host.failWith(setting)
		r.resolvers.find(time.Hour, "2001:db8:64::/96")
		r.after(time.Second)
		r.forget()
		r.reload(strings.Replace(discovered, "c1a7", "64", 1))
		if said := r.forget(); len(said) != 1 || !strings.HasPrefix(said[0], refused+"waiting: no PREF64 on eth0: ") {
			t.Errorf("%q", said)
		}
		_ = r.stop()
	})
}

// Resolvers are asked where the configuration has no PREF64 itself, and what they said holds as long as they said.
func TestReloadSources(t *testing.T) {
	const twoOfThem = "2001:db8:64::/96"
	asked := func(r *rig) string { return strings.Join(r.resolvers.askedOn(), ", ") }
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop())
		r.resolvers.find(time.Hour, "64:ff9b::/96", twoOfThem)
		r.after(time.Second)
		r.forget()

		r.reload(pinned)
		r.expect(reloaded+`pref64.prefixes"`, full, on)
		r.resolvers.find(time.Hour, twoOfThem) // which was under way
		r.after(time.Second)
		if r.expect(); asked(r) != "" {
			t.Errorf("resolvers are asked on %s", asked(r))
		}

		// What they said last leaves no gap.
		r.reload(discovered)
		r.expect(reloaded+`pref64.prefixes"`, "host: "+fullText+"["+twoOfThem+"]",
			flows(strings.Replace(onDNS, "64:ff9b::/96", twoOfThem, 1), "those of 100.64.46.4 through 64:ff9b::/96 are lost"))
		if asked(r) != "eth0" {
			t.Errorf("resolvers are asked on %q", asked(r))
		}

		// Nor does what they say soon.
		r.reload(pinned)
		r.after(time.Hour)
		r.forget()
		r.hangUp(discovered)
		r.after(firstAnswer - time.Second/2)
		r.expect(reloaded + `pref64.prefixes"`)
		r.resolvers.find(time.Hour, "64:ff9b::/96")
		r.after(time.Second)
		r.expect(change(onDNS, byDNS("64:ff9b::/96", "appeared for 1h0m0s")))

		r.reload(pinned)
		r.after(time.Hour)
		r.forget()
		r.hangUp(discovered)
		r.after(firstAnswer) // an empty list withdraws them, and nobody else knows one
		r.expect(reloaded+`pref64.prefixes"`, nothing, closeTUN, stopped, noPREF64)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestReloadWhileWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop())
		r.expect(append(triedTUN, noPREF64)...)
		r.reload("mode = 'maybe'")
		r.expect(refused + `test.toml:1: mode: \"maybe\": is not one of auto, on, off, force"`)
		r.reload(pinned)
		r.expect(reloaded+`pref64.prefixes"`, openTUN, full, on, firewalls)
		_ = r.stop()
	})
}

// A signal before the first decision waits for it.
func TestReloadBeforeTheFirstDecision(t *testing.T) {
	for _, moment := range []time.Duration{0, firstAnswer - 1, firstAnswer, firstAnswer + 1} {
		bubble(t, func(t *testing.T) {
			r, o := newRig(t, discovered, laptop())
			r.file = pinned
			time.AfterFunc(moment, func() { r.hup <- syscall.SIGHUP })
			r.run(o)
			r.expect(append(triedTUN, noPREF64, reloaded+`pref64.prefixes"`, openTUN, full, on, firewalls)...)
			_ = r.stop()
		})
	}
}

// From a host to a plain translator and back. The translator has no uplink, so no firewall is between them, and asks nobody for a PREF64.
func TestReloadRouter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		forwarding := func(s *platform.Snapshot) { s.Forwarding4, s.Forwarding6 = true, true }
		r := start(t, discovered, laptop(forwarding))
		r.resolvers.find(time.Hour, "64:ff9b::/96")
		r.after(time.Second)
		r.forget()
		const router = "interface.ipv4 = ''\naddress.self-ipv6 = '2001:db8:c1a7::1'\ninterface.default-route = false" + aMap
		r.reload(router)
		r.expect(reloaded+`interface.ipv4, interface.default-route, address.ipv6, address.self-ipv6, map"`, "host: clat0 mtu 1500 []",
			`level=INFO msg="on: SIIT router on clat0, 1 map: what is routed there comes back translated" code=router`)
		if on := r.resolvers.askedOn(); len(on) > 0 {
			t.Errorf("resolvers are asked on %q", on)
		}
		r.eyes.change(laptop(forwarding, withoutRouter, withIPv4), nil)
		r.after(time.Second)
		r.expect()
		r.reload(discovered)
		r.forget()
		r.eyes.change(laptop(), nil)
		r.resolvers.find(time.Hour, "64:ff9b::/96")
		r.after(time.Second)
		r.expect(openTUN, full, onDNS, firewalls)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A plain translator needs maps only.
func TestRouter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "interface.ipv4 = ''\naddress.self-ipv6 = '2001:db8:c1a7::1'\ninterface.default-route = false"+aMap,
			platform.Snapshot{Forwarding4: true, Forwarding6: true})
		r.expect(openTUN, "host: clat0 mtu 1500 []",
			`level=INFO msg="on: SIIT router on clat0, 1 map: what is routed there comes back translated" code=router`)
		if on := r.resolvers.askedOn(); len(on) > 0 {
			t.Errorf("resolvers are asked on %q", on)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.expect(nothing, closeTUN, stopped)
	})
}

// What is good and fails on the host is tried again, and is not taken back.
func TestReloadFailsOnTheHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.forget()
		r.host.failWith(setting)
		r.reload(pinned + "\ninterface.metric = 700")
		metric := strings.Replace(full, "metric 2000000", "metric 700", 1)
		r.expect(reloaded+`interface.metric"`, metric+": broken", nothing, closeTUN, stopped, again5+`"setting up the host: broken"`)
		r.reload(pinned + "\ninterface.metric = 800")
		metric = strings.Replace(full, "metric 2000000", "metric 800", 1)
		r.expect(reloaded+`interface.metric"`, openTUN, metric+": broken", nothing, closeTUN, again5+`"setting up the host: broken"`)
		r.host.failWith(nil)
		r.after(again)
		r.expect(openTUN, metric, on, firewalls)
		_ = r.stop()
	})
}

// Where what is missing keeps the old configuration from working as well, the new one is as good.
func TestReloadWhileTheNetworkGoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.forget()
		r.eyes.become(laptop(withoutRouter), nil) // and nobody has looked
		r.reload(pinned + aMap)
		r.expect(reloaded+`map"`, nothing, closeTUN, stopped, noUplink)
		_ = r.stop()
	})
}

// What the administrator asked for is said, however full the log is; what the network did is not.
func TestAnswersAreSaidWhenTheLogIsFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, pinned, laptop())
		o.Log = slog.New(slog.DiscardHandler)
		r.run(o)
		r.expect(openTUN, full, firewalls)
		r.eyes.change(laptop(withIPv4), nil)
		r.after(time.Second)
		r.expect(nothing, closeTUN)
		r.reload(pinned + "\nmode = 'on'")
		r.expect(reloaded+`mode"`, openTUN, full, on, firewalls)
		r.reload("mode = 'maybe'")
		r.reload(pinned + "\nmode = 'on'")
		r.expect(refused+`test.toml:1: mode: \"maybe\": is not one of auto, on, off, force"`, unchanged)
		r.host.failWith(setting)
		r.reload(pinned)
		r.expect(reloaded+`mode"`, nothing, closeTUN, stopped, native)
		r.reload(pinned + "\nmode = 'on'")
		r.expect(reloaded+`mode"`, openTUN, full+": broken", nothing, closeTUN, again5+`"setting up the host: broken"`)
		r.host.failWith(nil)
		r.after(again)
		r.expect(openTUN, full, firewalls)
		r.reload(discovered + "\nmode = 'on'")
		r.after(firstAnswer)
		r.expect(reloaded+`pref64.prefixes"`, nothing, closeTUN, stopped, noPREF64)
		r.reload(pinned + "\nmode = 'on'")
		r.expect(reloaded+`pref64.prefixes"`, openTUN, full, on, firewalls)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.expect(nothing, closeTUN, stopped)
	})
}

// The translator is another one from the next packet on.
func TestReloadedTranslation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		for _, tt := range []struct {
			toml, dst string
			hops      byte
		}{
			{pinned, "64:ff9b::c000:209", 63},
			{pinned + aMap, "2001:db8:9::9", 63},
			{pinned + "\ntranslate.ttl-transparent = true" + aMap, "2001:db8:9::9", 64},
			{pinned, "64:ff9b::c000:209", 63},
		} {
			r.reload(tt.toml)
			if out := r.send(udp4("100.64.46.4", "192.0.2.9")); destination(out) != tt.dst || out[7] != tt.hops {
				t.Errorf("%s:\nto %s, hop limit %d, want %s, %d", tt.toml, destination(out), out[7], tt.dst, tt.hops)
			}
		}
		_ = r.stop()
	})
}

// Each field of the configuration is a key by its name.
func TestChangesNameEveryKey(t *testing.T) {
	values := map[reflect.Type]any{
		reflect.TypeFor[netip.Addr]():          netip.MustParseAddr("192.0.2.1"),
		reflect.TypeFor[netip.Prefix]():        netip.MustParsePrefix("192.0.2.1/32"),
		reflect.TypeFor[config.TrafficClass](): config.TrafficClass{Fixed: true},
	}
	change := func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			v.SetString("another")
		case reflect.Int:
			v.SetInt(46)
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		default:
			v.Set(reflect.ValueOf(values[v.Type()]))
		}
	}
	var got, want []string
	name := func(c *config.Config) {
		names := changes(new(config.Config), c)
		if len(names) != 1 {
			t.Errorf("%+v: %q, want one key", *c, names)
		}
		got = append(got, names...)
	}
	for i, top := range reflect.VisibleFields(reflect.TypeFor[config.Config]()) {
		if top.Type.Kind() != reflect.Struct {
			c := new(config.Config)
			change(reflect.ValueOf(c).Elem().Field(i))
			name(c)
			continue
		}
		for j := range top.Type.NumField() {
			c := new(config.Config)
			change(reflect.ValueOf(c).Elem().Field(i).Field(j))
			name(c)
		}
	}
	for _, k := range config.Keys() {
		want = append(want, k.Name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// send has the host send a packet, and returns what becomes of it.
func (r *rig) send(packet []byte) []byte {
	tun := r.tuns.current()
	tun.in <- packet
	return <-tun.out
}

// withSecond has an interface beside the uplink, with no route.
func withSecond(s *platform.Snapshot) {
	s.Links = append(s.Links, platform.Link{Index: 7, Name: "eth1", MTU: 1500, MTU6: 1500, Up: true, L2: true})
}

// udp4 is an IPv4 packet with an empty datagram, and TTL 64.
func udp4(src, dst string) []byte {
	const udp = 17
	p := []byte{0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, udp, 0, 0, 19: 0, 0x82, 0x9a, 0x82, 0x9a, 0, 8, 0, 1}
	copy(p[12:], netip.MustParseAddr(src).AsSlice())
	copy(p[16:], netip.MustParseAddr(dst).AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:20]))
	return p
}

// source and destination are those of an IPv6 packet.
func source(p []byte) string      { return netip.AddrFrom16([16]byte(p[8:24])).String() }
func destination(p []byte) string { return netip.AddrFrom16([16]byte(p[24:40])).String() }
