package daemon

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/platform"
)

const modeOff = `level=INFO msg="off: the configuration says so (mode = off)" code=mode-off`

// Each key is put in force without a restart, and with no more than it takes.
func TestReloadOnPacketPath(t *testing.T) {
	const kernelTOML = "path = 'kernel'\n" + pinned
	for _, tt := range []struct {
		name     string
		from, to string
		want     []string
	}{
		{name: "nothing", to: packetTOML + "\npath = 'auto'", want: []string{unchanged}},
		{name: "the same path, by its name", to: packetTOML + "\npath = 'packet'", want: []string{reloaded + `path"`}},
		{name: "off", to: "mode = 'off'", want: append([]string{reloaded + `mode, pref64.prefixes"`}, append(slices.Clone(goesDown), modeOff)...)},
		{name: "on", from: "mode = 'off'", to: packetTOML, want: append([]string{reloaded + `mode, pref64.prefixes"`}, comesUp(first)...)},
		{name: "to path kernel", to: kernelTOML, want: append(append([]string{reloaded + `path, address.ipv6"`}, goesDown...), openTUN, full, on,
			firewalls)},
		{name: "from path kernel", from: kernelTOML, to: packetTOML,
			want: append([]string{reloaded + `path, address.ipv6"`, nothing, closeTUN, stopped}, comesUp(first)...)},
		{name: "interface.name", to: packetTOML + "\ninterface.name = 'v4'", // and the address is not tried anew
			want: []string{openV4, reloaded + `interface.name"`, nothing, closeTUN, stopped,
				strings.Replace(packetHost, "clat0", "v4", 1), onAs(first)}},
		{name: "address.dad", to: packetTOML + "\naddress.dad = 'optimistic'", want: []string{reloaded + `address.dad"`}},
		{name: "inbound", to: packetTOML + "\ninbound = 'all'", want: []string{reloaded + `inbound"`}},
		{name: "probe.targets", to: packetTOML + "\nprobe.targets = ['192.0.2.1']", want: []string{reloaded + `probe.targets"`}},
		{name: "force", to: packetTOML + "\nmode = 'force'", want: []string{reloaded + `mode"`}},
		{name: "metric", to: packetTOML + "\ninterface.metric = 700",
			want: []string{reloaded + `interface.metric"`, strings.Replace(packetHost, "2000000", "700", 1)}},
		{name: "MTU", to: packetTOML + "\ninterface.mtu = 1400",
			want: []string{reloaded + `interface.mtu"`, strings.ReplaceAll(packetHost, "1480", "1380")}},
		{name: "PREF64", to: "pref64.prefixes = ['2001:db8:64::/96']",
			want: []string{reloaded + `pref64.prefixes"`, flows(strings.Replace(onAs(first), "64:ff9b::/96", "2001:db8:64::/96", 1),
				"those of 100.64.46.4 through 64:ff9b::/96 are lost")}},
		{name: "an address of the link that was chosen", to: packetTOML + "\naddress.ipv6 = '2001:db8:1::46'",
			want: []string{reloaded + `address.ipv6"`, kept(4), checking("2001:db8:1::46"), probing("2001:db8:1::46"),
				packetHost, flows(onAs("2001:db8:1::46"), lost(4, wkp))}},
		{name: "a prefix that is routed here", to: packetTOML + "\npath = 'packet'\naddress.ipv6 = '2001:db8:c1a7::46'",
			want: []string{reloaded + `path, address.ipv6"`, kept(4), checking("2001:db8:c1a7::46"), probing("2001:db8:c1a7::46"),
				packetHost, flows(onAs("2001:db8:c1a7::46"), lost(4, wkp))}},
		{name: "interface.ipv4", to: packetTOML + "\ninterface.ipv4 = '192.0.0.2'",
			want: []string{reloaded + `interface.ipv4"`, strings.ReplaceAll(packetHost, "100.64.46.4", "192.0.0.2"),
				info("connections: those of 100.64.46.4 are lost; new ones are of 192.0.0.2")}},
		{name: "an uplink that is not there", to: packetTOML + "\nuplink = 'eth7'",
			want: []string{refused + `waiting: there is no interface eth7 (uplink)"`}},
		{name: "path kernel without an address", to: packetTOML + "\npath = 'kernel'",
			want: []string{refused + "address.ipv6 is not set: path kernel needs an IPv6 address or prefix that is routed to this host, beside the " +
				`/64 of its link; leave path = \"auto\", which makes an address on the link, or ` + route + `"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				if tt.from == "" {
					tt.from = packetTOML
				}
				r := start(t, tt.from, laptop(slaac))
				r.after(time.Second)
				r.forget()
				r.reload(tt.to)
				r.after(time.Second)
				r.expect(tt.want...)
				r.after(time.Minute)
				r.expect()
				if err := r.stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Other IPv4 addresses begin anew, also where one of them was in use for old connections: what stood for the others is of no use to them.
func TestReloadIPv4BeginsAnew(t *testing.T) {
	for ipv4, loss := range map[string]string{
		"192.0.0.2":   "those of 100.64.46.6 are lost; 100.64.46.4 is no longer an address of this host: it was old; new ones are of 192.0.0.2",
		"100.64.46.6": lost(6, nsp) + "; 100.64.46.4 is no longer an address of this host: it was old",
	} {
		bubble(t, func(t *testing.T) {
			r := startLearned(t)
			r.reload("interface.ipv4 = '" + ipv4 + "'")
			r.after(2 * time.Second)
			r.expect(reloaded+`interface.ipv4"`, strings.ReplaceAll(packetHost, "100.64.46.4", ipv4), flows(onRAs(nsp, first), loss))
			if got := r.through(ipv4); got != first+" 2001:db8:64::c000:201" {
				t.Errorf("%s leaves as %s", ipv4, got)
			}
			_ = r.stop()
		})
	}
}

// A configuration that comes while an address is tried is put in force as well.
func TestReloadWhileAnAddressIsTried(t *testing.T) {
	for _, moment := range []time.Duration{time.Second / 2, 1500 * time.Millisecond} {
		bubble(t, func(t *testing.T) {
			r, o := newRig(t, packetTOML, laptop(slaac))
			r.lan.mute = true
			go func() { r.ended <- Run(r.ctx, o) }()
			r.after(moment)
			r.forget()
			r.hangUp("mode = 'force'\ninterface.metric = 700\n" + packetTOML)
			r.after(time.Second)
			said := r.forget()
			if want := []string{openTUN4, strings.Replace(packetHost, "2000000", "700", 1), onAs(first)}; len(said) != 4 ||
				said[0] != reloaded+`mode, interface.metric"` || !slices.Equal(said[1:], want) {
				t.Errorf("%v: %q", moment, said)
			}
			r.hangUp("mode = 'off'")
			r.after(time.Second)
			r.expect(append([]string{reloaded + `mode, interface.metric, pref64.prefixes"`}, append(slices.Clone(goesDown), modeOff)...)...)
			_ = r.stop()
		})
	}
}

// A name that changes while an address is tried is that of the device which is opened at last.
func TestReloadInterfaceNameWhileAnAddressIsTried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, packetTOML, laptop(slaac))
		go func() { r.ended <- Run(r.ctx, o) }()
		r.after(time.Second / 2)
		r.forget()
		r.hangUp("interface.name = 'v4'\n" + packetTOML)
		r.after(2 * time.Second)
		r.expect(openV4, reloaded+`interface.name"`, "tun: close v4", probing(first), strings.Replace(openTUN4, "clat0", "v4", 1),
			strings.Replace(packetHost, "clat0", "v4", 1), onAs(first))
		_ = r.stop()
	})
}

// On a link without neighbours no address is anybody else's.
func TestLinkWithoutNeighbours(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const ours = "2001:db8:1:0:1d21:4081:4fed:52ac"
		r, o := newRig(t, packetTOML, laptop(slaac, func(s *platform.Snapshot) {
			s.Links[0].L2, s.Links[0].Hardware, s.Links[0].Name = false, "", "wwan0"
			s.Routes[0].Via = netip.Addr{}
		}))
		r.run(o)
		wwan0 := strings.NewReplacer("eth0", "wwan0")
		r.expect(append(slices.Clone(triedTUN), wwan0.Replace(openLink), wwan0.Replace(probing(ours)), openTUN4,
			packetHost, wwan0.Replace(onAs(ours)))...)
		_ = r.stop()
	})
}
