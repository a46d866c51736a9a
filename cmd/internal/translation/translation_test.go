package translation

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/frame"
	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/clat/siit"
)

const (
	one     = "address.ipv6 = '2001:db8:c1a7::46'\n"
	prefix  = "address.ipv6 = '2001:db8:c1a7::/64'\n"
	clients = "address.ipv6 = '2001:db8:c1a7::/96'\ninterface.ipv4 = '100.64.0.0/10'\n"
	reject  = "translate.wkp-non-global = 'reject'\n"
	router  = "interface.ipv4 = ''\nmap = [{ipv4 = '192.0.2.1', ipv6 = '2001:db8:9::1'}, {ipv4 = '198.18.0.0/24', ipv6 = '2001:db8:7::/120'}]\n"
)

func parse(t *testing.T, toml string) *config.Config {
	t.Helper()
	c, err := config.Parse("test.toml", []byte(toml))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// planned is a configuration, and what a plan for it says of addresses.
func planned(t *testing.T, toml, nat64 string, mtu6, mtu4 int) (*config.Config, policy.Plan) {
	t.Helper()
	c := parse(t, toml)
	p := policy.Plan{On: true, PREF64: prefixes(nat64), Self6: c.SelfIPv6(), MTU6: mtu6, MTU4: mtu4}
	if !c.Router() {
		p.Generations = []policy.Generation{{IPv4: c.Interface.IPv4, IPv6: policy.CLAT(c)}}
	}
	return c, p
}

func prefixes(text string) (all []pref64.Prefix) {
	for _, p := range strings.Fields(text) {
		all = append(all, pref64.MustParse(p))
	}
	return all
}

func TestTable(t *testing.T) {
	const host, peer = "100.64.46.4", "198.51.100.10"
	for _, tt := range []struct {
		name, config, pref64 string
		src, dst             string // of a packet
		want                 string // what they become, or the reason for the drop
	}{
		{"one host, one address", one, "64:ff9b::/96", host, peer, "2001:db8:c1a7::46 64:ff9b::198.51.100.10"},
		{"one host behind a prefix", prefix, "64:ff9b::/96", host, peer, "2001:db8:c1a7:0:64:402e:400:0 64:ff9b::198.51.100.10"},
		{"a client", clients, "64:ff9b::/96", "100.64.0.1", peer, "2001:db8:c1a7::100.64.0.1 64:ff9b::198.51.100.10"},
		{"a PREF64 of 64 bits", one, "2001:db8:64::/64", host, peer, "2001:db8:c1a7::46 2001:db8:64:0:c6:3364:a00:0"},
		{"the first PREF64 makes addresses", one, "2001:db8:64::/96 64:ff9b::/96", host, peer, "2001:db8:c1a7::46 2001:db8:64::c633:640a"},
		{"and each is accepted", one, "2001:db8:64::/96 64:ff9b::/96", "64:ff9b::198.51.100.10", "2001:db8:c1a7::46", peer + " " + host},
		{"no PREF64", one, "", host, peer, "no-mapping"},
		{"another source", one, "64:ff9b::/96", "100.64.46.6", peer, "source"},
		{"the translator's own address is no source", clients, "64:ff9b::/96", "100.64.46.5", peer, "source"},
		{"private IPv4 is translated", one, "64:ff9b::/96", host, "10.0.0.1", "2001:db8:c1a7::46 64:ff9b::10.0.0.1"},
		{"unless it is not to be", one + reject, "64:ff9b::/96", host, "10.0.0.1", "wkp-non-global"},
		{"which is about the well-known prefix only", one + reject, "2001:db8:64::/96", host, "10.0.0.1",
			"2001:db8:c1a7::46 2001:db8:64::a00:1"},
		{"a map wins over the PREF64", one + "map = [{ipv4 = '198.51.100.10', ipv6 = '2001:db8:9::1'}]", "64:ff9b::/96", host, peer,
			"2001:db8:c1a7::46 2001:db8:9::1"},
		{"in both directions", one + "map = [{ipv4 = '198.51.100.10', ipv6 = '2001:db8:9::1'}]", "64:ff9b::/96", "2001:db8:9::1", "2001:db8:c1a7::46",
			peer + " " + host},
		{"a router: neither end is its own", router, "64:ff9b::/96", peer, "192.0.2.1", "64:ff9b::198.51.100.10 2001:db8:9::1"},
		{"and back", router, "64:ff9b::/96", "2001:db8:9::1", "64:ff9b::198.51.100.10", "192.0.2.1 " + peer},
		{"both by maps", router, "", "198.18.0.9", "192.0.2.1", "2001:db8:7::9 2001:db8:9::1"},
		{"both by the PREF64", router, "64:ff9b::/96", peer, "203.0.113.7", "64:ff9b::198.51.100.10 64:ff9b::203.0.113.7"},
		{"neither", router, "", peer, "192.0.2.1", "no-mapping"},
		{"the router's own address is no source", router, "64:ff9b::/96", "100.64.46.5", "192.0.2.1", "source"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Table(planned(t, tt.config, tt.pref64, 1500, 1500))
			if err != nil {
				t.Fatal(err)
			}
			src, dst := netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.dst)
			var reason clat.DropReason
			var s, d netip.Addr
			if src.Is4() {
				var p6 [2][16]byte
				p6, reason = to6(m.To6, src, dst)
				s, d = netip.AddrFrom16(p6[0]), netip.AddrFrom16(p6[1])
			} else {
				var p4 [2][4]byte
				p4, reason = to4(m.To4, src, dst)
				s, d = netip.AddrFrom4(p4[0]), netip.AddrFrom4(p4[1])
			}
			got := reason.String()
			if reason == clat.DropNone {
				got = s.String() + " " + d.String()
				var want []string
				for _, w := range strings.Fields(tt.want) {
					if a, err := netip.ParseAddr(w); err == nil {
						w = a.String()
					}
					want = append(want, w)
				}
				tt.want = strings.Join(want, " ")
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// What the host reaches by other ways nobody behind the NAT64 may claim, unless a longer prefix leads there.
func TestTableElsewhere(t *testing.T) {
	ways := func(text string) (all []netip.Prefix) {
		for _, p := range strings.Fields(text) {
			all = append(all, netip.MustParsePrefix(p))
		}
		return all
	}
	for _, tt := range []struct {
		config, elsewhere, here string
		want                    clat.DropReason
	}{
		{one, "", "", clat.DropNone},
		{one, "203.0.113.0/24", "", clat.DropLocalSource},
		{one, "203.0.113.0/24", "203.0.113.10/32", clat.DropNone},
		{one, "203.0.113.0/24", "203.0.113.11/32", clat.DropLocalSource},
		{clients, "203.0.113.0/24", "203.0.112.0/22", clat.DropLocalSource},
		{clients, "203.0.113.0/24", "203.0.113.10/32", clat.DropNone},
	} {
		c, plan := planned(t, tt.config, "64:ff9b::/96", 1500, 1500)
		plan.Elsewhere, plan.Here = ways(tt.elsewhere), ways(tt.here)
		m, err := Table(c, plan)
		if err != nil {
			t.Fatal(err)
		}
		dst := "2001:db8:c1a7::46"
		if tt.config == clients {
			dst = "2001:db8:c1a7::100.64.0.1"
		}
		if _, reason := to4(m.To4, netip.MustParseAddr("64:ff9b::203.0.113.10"), netip.MustParseAddr(dst)); reason != tt.want {
			t.Errorf("elsewhere [%s], here [%s]: %v, want %v", tt.elsewhere, tt.here, reason, tt.want)
		}
	}
}

// Each IPv4 address goes by the pair of its generation. One whose IPv6 address is being sought has none.
func TestTableOfGenerations(t *testing.T) {
	const wkp, nsp = "64:ff9b::/96", "2001:db8:64::/96"
	const old, now, peer = "100.64.46.4", "100.64.46.6", "198.51.100.10"
	gen := func(v4, v6, plat string) policy.Generation {
		g := policy.Generation{IPv4: netip.MustParsePrefix(v4 + "/32"), PREF64: pref64.MustParse(plat)}
		if v6 != "" {
			g.IPv6 = netip.MustParsePrefix(v6 + "/128")
		}
		return g
	}
	separate := []policy.Generation{gen(now, "2001:db8:2::6", nsp), gen(old, "2001:db8:1::4", wkp)}
	shared := []policy.Generation{gen(now, "2001:db8:c1a7::46", nsp), gen(old, "2001:db8:c1a7::46", wkp)}
	for _, tt := range []struct {
		name        string
		generations []policy.Generation
		src, dst    string
		want        string // what they become, or the reason for the drop
	}{
		{"the new one", separate, now, peer, "2001:db8:2::6 2001:db8:64::c633:640a"},
		{"the old one", separate, old, peer, "2001:db8:1::4 64:ff9b::c633:640a"},
		{"the answer to the old one", separate, "64:ff9b::198.51.100.10", "2001:db8:1::4", peer + " " + old},
		{"of another PREF64, to that address", separate, "2001:db8:64::198.51.100.10", "2001:db8:1::4", peer + " " + old},
		{"the new one by the same IPv6 address", shared, now, peer, "2001:db8:c1a7::46 2001:db8:64::c633:640a"},
		{"the old one", shared, old, peer, "2001:db8:c1a7::46 64:ff9b::c633:640a"},
		{"the answer to the old one", shared, "64:ff9b::198.51.100.10", "2001:db8:c1a7::46", peer + " " + old},
		{"the answer to the new one", shared, "2001:db8:64::198.51.100.10", "2001:db8:c1a7::46", peer + " " + now},
		{"no IPv6 address yet", []policy.Generation{gen(now, "2001:db8:2::6", nsp), gen(old, "", wkp)}, old, peer, "source"},
	} {
		c, plan := planned(t, "", nsp+" "+wkp, 1500, 1500)
		plan.Generations = tt.generations
		m, err := Table(c, plan)
		if err != nil {
			t.Fatal(err)
		}
		src, dst := netip.MustParseAddr(tt.src), netip.MustParseAddr(tt.dst)
		var got string
		if src.Is4() {
			p, reason := to6(m.To6, src, dst)
			if got = netip.AddrFrom16(p[0]).String() + " " + netip.AddrFrom16(p[1]).String(); reason != clat.DropNone {
				got = reason.String()
			}
		} else {
			p, reason := to4(m.To4, src, dst)
			if got = netip.AddrFrom4(p[0]).String() + " " + netip.AddrFrom4(p[1]).String(); reason != clat.DropNone {
				got = reason.String()
			}
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestTableRefuses(t *testing.T) {
	for _, tt := range []struct{ name, config, pref64, want string }{
		{"a PREF64 that holds our address", one, "2001:db8::/32", "address mapping: 2001:db8:c1a7::46/128 lies in the PREF64 2001:db8::/32"},
		{"one that our prefix holds", "address.ipv6 = '2001:db8::/32'\ninterface.ipv4 = '100.64.0.0/10'", "2001:db8:64::/96",
			"address mapping: 2001:db8::/32 covers the PREF64 2001:db8:64::/96"},
		{"a map that takes the host's own address", prefix + "map = [{ipv4 = '192.0.2.1', ipv6 = '2001:db8:c1a7:0:64:402e:400:0'}]", "",
			"address mapping: 2001:db8:c1a7:0:64:402e:400:0/128 is mapped twice"},
	} {
		if _, err := New(planned(t, tt.config, tt.pref64, 1500, 1500)); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

// What the configuration leaves to the operator reaches the translator.
func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		mtu6         int
		packet       []byte
		want         siit.Verdict
		reason       clat.DropReason
		check        func(out []byte) bool
	}{
		{name: "UDP over IPv4 without a checksum gets one", packet: udp4(t, 64, 8, false),
			want: siit.Forward, check: func(out []byte) bool { return out[46] != 0 || out[47] != 0 }},
		{name: "or is dropped", config: "translate.udp-zero-checksum = 'drop'", packet: udp4(t, 64, 8, false),
			want: siit.Drop, reason: clat.DropZeroChecksum},
		{name: "the TTL is one less", packet: udp4(t, 64, 8, false), want: siit.Forward, check: func(out []byte) bool { return out[7] == 63 }},
		{name: "or as it was", config: "translate.ttl-transparent = true", packet: udp4(t, 64, 8, false), want: siit.Forward,
			check: func(out []byte) bool { return out[7] == 64 }},
		{name: "an error comes from interface.self-ipv4", packet: udp4(t, 1, 8, false), want: siit.Reply, reason: clat.DropTTL,
			check: from(100, 64, 46, 5)},
		{name: "or not at all", config: "translate.icmp-errors = false", packet: udp4(t, 1, 8, false), want: siit.Drop, reason: clat.DropTTL},
		{name: "what fits goes", mtu6: 1500, packet: udp4(t, 64, 1480-20, true), want: siit.Forward},
		{name: "what does not, does not", mtu6: 1499, packet: udp4(t, 64, 1480-20, true), want: siit.Reply, reason: clat.DropTooBig},
		{name: "fragments are of the least MTU", packet: udp4(t, 64, 1400, false), want: siit.Forward,
			check: func(out []byte) bool { return out[6] == 44 && len(out) <= 1280 }},
		{name: "or of a larger one", config: "translate.lowest-ipv6-mtu = 1500", packet: udp4(t, 64, 1400, false), want: siit.Forward,
			check: func(out []byte) bool { return len(out) == 40+1400 }},
		{name: "though not of more than the uplink takes", config: "translate.lowest-ipv6-mtu = 9000", mtu6: 1400, packet: udp4(t, 64, 1400, false),
			want: siit.Forward, check: func(out []byte) bool { return out[6] == 44 && len(out) <= 1400 }},
		{name: "auto is as much", config: "translate.lowest-ipv6-mtu = 'auto'", packet: udp4(t, 64, 1480-20, false),
			want: siit.Forward, check: func(out []byte) bool { return len(out) == 1500 }},
		{name: "ICMP in fragments waits for the rest", packet: fragment4(), want: siit.Reassemble},
		{name: "or is dropped", config: "translate.icmp-fragments = 'drop'", packet: fragment4(), want: siit.Drop, reason: clat.DropFragmentedICMP},
		{name: "the traffic class is the TOS", packet: udp4(t, 64, 8, false), want: siit.Forward,
			check: func(out []byte) bool { return out[0] == 0x62 && out[1] == 0xe0 }},
		{name: "or 0", config: "translate.traffic-class = '0'", packet: udp4(t, 64, 8, false), want: siit.Forward,
			check: func(out []byte) bool { return out[0] == 0x60 && out[1] == 0 }},
		{name: "or what is configured", config: "translate.traffic-class = '184'", packet: udp4(t, 64, 8, false), want: siit.Forward,
			check: func(out []byte) bool { return out[0] == 0x6b && out[1] == 0x80 }},
		{name: "the MSS is as the host offers it", packet: syn4(t, 9000), want: siit.Forward, check: mss6(9000)},
		{name: "or what fits", config: "translate.clamp-mss = true", mtu6: 1420, packet: syn4(t, 9000), want: siit.Forward, check: mss6(1360)},
		{name: "a router without IPv4 tells its IPv6 address", packet: timeExceeded6(t), want: siit.Forward,
			check: func(out []byte) bool {
				return from(192, 0, 0, 8)(out) && len(out) == 20+8+128+28 && bytes.HasSuffix(out, addr6("2001:db8:ffff::1"))
			}},
		{name: "or not", config: "translate.node-identification = false", packet: timeExceeded6(t), want: siit.Forward,
			check: func(out []byte) bool { return from(192, 0, 0, 8)(out) && len(out) == 20+8+28 }},
		{name: "it has the address of unmapped-source", config: "translate.unmapped-source = '192.0.0.9'", packet: timeExceeded6(t),
			want: siit.Forward, check: from(192, 0, 0, 9)},
		{name: "or there is none", config: "translate.unmapped-source = ''", packet: timeExceeded6(t), want: siit.Drop, reason: clat.DropNoMapping},
		{name: "what has no mapping gets no answer", packet: udp6("2001:db8:ffff::1"), want: siit.Drop, reason: clat.DropNoMapping},
		{name: "or one", config: "translate.icmpv6-prohibited = true", packet: udp6("2001:db8:ffff::1"), want: siit.Reply,
			reason: clat.DropNoMapping, check: func(out []byte) bool {
				return bytes.Equal(out[8:24], addr6("2001:db8:c1a7::46")) && bytes.Equal(out[24:40], addr6("2001:db8:ffff::1")) &&
					out[40] == 1 && out[41] == 1
			}},
		{name: "UDP over IPv6 without a checksum is dropped", packet: udp6("64:ff9b::198.51.100.10"), want: siit.Drop,
			reason: clat.DropZeroChecksum},
		{name: "or passes", config: "translate.udp6-zero-checksum = 'pass'", packet: udp6("64:ff9b::198.51.100.10"), want: siit.Forward,
			check: func(out []byte) bool { return out[26] == 0 && out[27] == 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mtu6 := tt.mtu6
			if mtu6 == 0 {
				mtu6 = 1500
			}
			tr, err := New(planned(t, one+tt.config, "64:ff9b::/96", mtu6, mtu6))
			if err != nil {
				t.Fatal(err)
			}
			r := translate(tr, tt.packet)
			if r.Verdict != tt.want || r.Reason != tt.reason {
				t.Fatalf("verdict %v, %v; want %v, %v", r.Verdict, r.Reason, tt.want, tt.reason)
			}
			if tt.check != nil && !tt.check(r.Out[0].Bytes()) {
				t.Errorf("% x", r.Out[0].Bytes())
			}
		})
	}
}

// translate is what becomes of one packet, with a budget for errors.
func translate(tr *siit.Translator, p []byte) siit.Result {
	f := new(frame.Frame)
	buf := make([]byte, frame.Headroom+len(p)+frame.Tailroom)
	copy(buf[frame.Headroom:], p)
	f.Wrap(buf, frame.Headroom, len(p))
	s := siit.NewScratch(0)
	s.Errors = 1
	return tr.Translate(f, s)
}

// What is said of either side's MTU is taken for that side.
func TestMTUs(t *testing.T) {
	for _, tt := range []struct {
		name       string
		mtu6, mtu4 int
		packet     []byte
		want       siit.Verdict
	}{
		{"to IPv4 of 1300 octets", 1500, 1300, ipv6(17, "64:ff9b::198.51.100.10", "2001:db8:c1a7::46", append([]byte{7: 1}, make([]byte, 1272)...)), siit.Forward},
		{"one too many", 1500, 1300, ipv6(17, "64:ff9b::198.51.100.10", "2001:db8:c1a7::46", append([]byte{7: 1}, make([]byte, 1273)...)), siit.Reply},
		{"to IPv6, which does not care for it", 1500, 1300, udp4(t, 64, 1460, true), siit.Forward},
	} {
		tr, err := New(planned(t, one, "64:ff9b::/96", tt.mtu6, tt.mtu4))
		if err != nil {
			t.Fatal(err)
		}
		if r := translate(tr, tt.packet); r.Verdict != tt.want {
			t.Errorf("%s: verdict %v, want %v", tt.name, r.Verdict, tt.want)
		}
	}
}

// A router turns round what one mapped host sends to the IPv4 address of another, unless it is not to.
func TestHairpin(t *testing.T) {
	for _, tt := range []struct{ config, want string }{
		{router, "64:ff9b::c000:201 2001:db8:7::9"},
		{router + "translate.hairpin = false", "192.0.2.1 198.18.0.9"},
	} {
		tr, err := New(planned(t, tt.config, "64:ff9b::/96", 1500, 1500))
		if err != nil {
			t.Fatal(err)
		}
		r := translate(tr, ipv6(17, "2001:db8:9::1", "64:ff9b::198.18.0.9", []byte{0, 53, 0x13, 0x88, 0, 8, 0, 1}))
		if r.Verdict != siit.Forward {
			t.Fatalf("%s: verdict %v, %v", tt.config, r.Verdict, r.Reason)
		}
		h, _ := siit.ReadHeader(r.Out[0].Bytes())
		if got := h.Src.String() + " " + h.Dst.String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.config, got, tt.want)
		}
	}
}
