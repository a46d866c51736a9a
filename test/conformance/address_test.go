package conformance

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/eam"
	"uclat/clat/pref64"
	"uclat/clat/siit"
	"uclat/discovery/dns"
)

// formats are 192.0.2.33 behind prefixes of all lengths (RFC 6052, 2.4).
var formats = []struct{ prefix, address string }{
	{"2001:db8::/32", "2001:db8:c000:221::"},
	{"2001:db8:100::/40", "2001:db8:1c0:2:21::"},
	{"2001:db8:122::/48", "2001:db8:122:c000:2:2100::"},
	{"2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"},
	{"2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"},
	{"2001:db8:122:344::/96", "2001:db8:122:344::c000:221"},
}

// behind has the peers behind prefix.
func behind(prefix string) func(*siit.Options, *eam.Spec) {
	return func(_ *siit.Options, s *eam.Spec) {
		// The examples of RFC 6052 are within one another, and the shortest would cover the client.
		s.Ours = []eam.Mapping{mapping(client4.String()+"/32", "2a00:c1a7::1/128")}
		s.PREF64 = []pref64.Prefix{pref64.MustParse(prefix)}
	}
}

// farClient6 is what client4 is in these tests.
var farClient6 = ip("2a00:c1a7::1")

// embedded is what the destination of a packet becomes.
func embedded(t *testing.T, tr *translator, dst net.IP) net.IP {
	t.Helper()
	return forward(t, tr, build(t, &layers.IPv4{DstIP: dst}, &layers.UDP{})).dst()
}

// extracted is what the source of a packet becomes.
func extracted(t *testing.T, tr *translator, src net.IP) net.IP {
	t.Helper()
	return forward(t, tr, build(t, &layers.IPv6{SrcIP: src, DstIP: farClient6}, &layers.UDP{})).src()
}

// bothWays wants 192.0.2.33 to be that address, and that address to be 192.0.2.33.
func bothWays(t *testing.T, tr *translator, prefix, address string) {
	t.Helper()
	if got := embedded(t, tr, ip("192.0.2.33")); !got.Equal(ip(address)) {
		t.Errorf("%s: 192.0.2.33 is %v, want %v", prefix, got, address)
	}
	if got := extracted(t, tr, ip(address)); !got.Equal(ip("192.0.2.33")) {
		t.Errorf("%s: %v is %v, want 192.0.2.33", prefix, address, got)
	}
	// All bits of the prefix count.
	for bit := range netip.MustParsePrefix(prefix).Bits() {
		src := edited(ip(address), bit/8, ip(address)[bit/8]^(0x80>>(bit%8)))
		dropped(t, tr, build(t, &layers.IPv6{SrcIP: src, DstIP: farClient6}, &layers.UDP{}), clat.DropNoMapping)
	}
}

func TestAddressFormat(t *testing.T) {
	t.Run("XLAT-6052-2.2-1", func(t *testing.T) {
		for _, f := range formats {
			for _, role := range roles {
				bothWays(t, newTranslator(t, behind(f.prefix), role), f.prefix, f.address)
			}
		}
		for length := range 129 {
			prefix := netip.PrefixFrom(netip.MustParseAddr("2001:db8::"), length).Masked().String()
			_, err := config.Parse("test.toml", []byte("pref64.prefixes = ['"+prefix+"']"))
			if known := strings.Contains(" 32 40 48 56 64 96 ", fmt.Sprintf(" %d ", length)); known != (err == nil) {
				t.Errorf("%s: %v", prefix, err)
			}
		}
	})

	// 203.255.255.254 has ones wherever the address may spill over into octet 8 or the suffix.
	const octetU = 8
	ones := ip("203.255.255.254")
	t.Run("XLAT-6052-2.2-2", func(t *testing.T) {
		for _, f := range formats {
			for _, role := range roles {
				if got := embedded(t, newTranslator(t, behind(f.prefix), role), ones); got[octetU] != 0 {
					t.Errorf("%s: octet 8 of %v is not zero", f.prefix, got)
				}
			}
		}
		// Of a prefix of 96 bits it is a part.
		if p, err := pref64.Parse("2001:db8:122:344:100::/96"); err == nil {
			t.Errorf("%v: accepted", p)
		}
	})
	t.Run("XLAT-6052-2.2-3", func(t *testing.T) {
		for i, firstOfSuffix := range []int{9, 10, 11, 12, 13, 16} {
			got := embedded(t, newTranslator(t, behind(formats[i].prefix)), ones)
			for _, octet := range got[firstOfSuffix:] {
				if octet != 0 {
					t.Errorf("%s: suffix of %v is not zero", formats[i].prefix, got)
				}
			}
		}
	})
	t.Run("XLAT-6052-2.2-4", func(t *testing.T) {
		for i, firstOfSuffix := range []int{9, 10, 11, 12, 13} {
			f := formats[i]
			for _, role := range roles {
				tr := newTranslator(t, behind(f.prefix), role)
				for at := firstOfSuffix; at < 16; at++ {
					src := edited(ip(f.address), at, 0xff)
					if got := extracted(t, tr, src); !got.Equal(ip("192.0.2.33")) {
						t.Errorf("%s: %v is %v, want 192.0.2.33", f.prefix, net.IP(src), got)
					}
				}
				// Octet 8 is no part of the suffix: what is not zero there is no such address.
				src := edited(ip(f.address), octetU, 1)
				dropped(t, tr, build(t, &layers.IPv6{SrcIP: src, DstIP: farClient6}, &layers.UDP{}), clat.DropNoMapping)
			}
		}
	})
}

// strict refuses non-global addresses behind the well-known prefix.
func strict(_ *siit.Options, s *eam.Spec) { s.RejectNonGlobal = true }

// nonGlobal are the first and the last address of the blocks of RFC 5735, 3, which RFC 6052, 3.1 forbids behind the well-known prefix,
// and of the shared address space of RFC 6598. reason is why a packet to them is dropped: some have no counterpart behind any prefix.
var nonGlobal = []struct {
	first, last string
	reason      clat.DropReason
}{
	{"0.0.0.0", "0.255.255.255", clat.DropNoMapping},
	{"10.0.0.0", "10.255.255.255", clat.DropNonGlobal},
	{"100.64.0.0", "100.127.255.255", clat.DropNonGlobal},
	{"127.0.0.0", "127.255.255.255", clat.DropNoMapping},
	{"169.254.0.0", "169.254.255.255", clat.DropNoMapping},
	{"172.16.0.0", "172.31.255.255", clat.DropNonGlobal},
	{"192.0.0.0", "192.0.0.7", clat.DropNoMapping}, // RFC 7335, within 192.0.0.0/24
	{"192.0.0.8", "192.0.0.255", clat.DropNonGlobal},
	{"192.0.2.0", "192.0.2.255", clat.DropNonGlobal},
	{"192.88.99.0", "192.88.99.255", clat.DropNonGlobal},
	{"192.168.0.0", "192.168.255.255", clat.DropNonGlobal},
	{"198.18.0.0", "198.19.255.255", clat.DropNonGlobal},
	{"198.51.100.0", "198.51.100.255", clat.DropNonGlobal},
	{"203.0.113.0", "203.0.113.255", clat.DropNonGlobal},
	{"224.0.0.0", "239.255.255.255", clat.DropMulticast},
	{"240.0.0.0", "255.255.255.254", clat.DropNoMapping},
	{"255.255.255.255", "255.255.255.255", clat.DropMulticast},
}

// besideNonGlobal are the global neighbours of these blocks.
var besideNonGlobal = []string{
	"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
	"169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.1.255", "192.0.3.0", "192.88.98.255",
	"192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255",
	"203.0.114.0", "223.255.255.255",
}

// wellKnown is a behind 64:ff9b::/96.
func wellKnown(a net.IP) net.IP { return append(ip("64:ff9b::")[:12:12], a...) }

// refusesNonGlobal: no packet from or to a non-global address behind the well-known prefix passes, and those beside all pass.
func refusesNonGlobal(t *testing.T, tr *translator) {
	t.Helper()
	for _, block := range nonGlobal {
		for _, a := range []net.IP{ip(block.first), ip(block.last)} {
			there := build(t, &layers.IPv4{DstIP: a}, &layers.UDP{})
			if block.reason == clat.DropMulticast {
				dropped(t, tr, there, block.reason)
			} else {
				answered(t, tr, there, block.reason).icmp(t).is(t, 3, 13, 0)
			}
			dropped(t, tr, build(t, &layers.IPv6{SrcIP: wellKnown(a)}, &layers.UDP{}), clat.DropNonGlobal)
		}
	}
	for _, a := range besideNonGlobal {
		forward(t, tr, build(t, &layers.IPv4{DstIP: ip(a)}, &layers.UDP{})).fromTo(t, client6, wellKnown(ip(a)))
		forward(t, tr, build(t, &layers.IPv6{SrcIP: wellKnown(ip(a))}, &layers.UDP{})).fromTo(t, ip(a), client4)
	}
}

func TestWellKnownPrefix(t *testing.T) {
	t.Run("XLAT-6052-2.1-1", func(t *testing.T) {
		for _, length := range []int{32, 40, 48, 56, 64} {
			prefix := fmt.Sprintf("64:ff9b::/%d", length)
			if _, err := config.Parse("test.toml", []byte("pref64.prefixes = ['"+prefix+"']")); err == nil {
				t.Errorf("configuration: %s was accepted", prefix)
			}
			if _, err := pref64.Parse(prefix); err == nil {
				t.Errorf("from any other source: %s was accepted", prefix)
			}
		}
		// A DNS64 that has 192.0.0.170 and 192.0.0.171 in 64:ff9b::/64 (RFC 7050, 3).
		wrong := []netip.Addr{netip.MustParseAddr("64:ff9b::c0:0:aa00:0"), netip.MustParseAddr("64:ff9b::c0:0:ab00:0")}
		if found := dns.Prefixes(wrong); len(found) != 0 {
			t.Errorf("DNS: %v was found", found)
		}
	})

	t.Run("XLAT-6052-3.1-1", func(t *testing.T) {
		for _, role := range roles {
			refusesNonGlobal(t, newTranslator(t, strict, role))
		}
		// Behind a prefix of the network's own, what is within is the network's business.
		tr := newTranslator(t, strict, behind("2001:db8:122:344::/96"))
		if got := embedded(t, tr, ip("10.0.0.1")); !got.Equal(ip("2001:db8:122:344::10.0.0.1")) {
			t.Errorf("10.0.0.1 is %v", got)
		}
		if got := extracted(t, tr, ip("2001:db8:122:344::10.0.0.1")); !got.Equal(ip("10.0.0.1")) {
			t.Errorf("from %v", got)
		}
	})

	t.Run("XLAT-WKP1918-1", func(t *testing.T) {
		for _, a := range []string{"10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1"} {
			tr := newTranslator(t)
			forward(t, tr, build(t, &layers.IPv4{DstIP: ip(a)}, &layers.UDP{})).fromTo(t, client6, wellKnown(ip(a)))
			forward(t, tr, build(t, &layers.IPv6{SrcIP: wellKnown(ip(a))}, &layers.UDP{})).fromTo(t, ip(a), client4)

			tr = newTranslator(t, strict)
			answered(t, tr, build(t, &layers.IPv4{DstIP: ip(a)}, &layers.UDP{}), clat.DropNonGlobal).icmp(t).is(t, 3, 13, 0)
			dropped(t, tr, build(t, &layers.IPv6{SrcIP: wellKnown(ip(a))}, &layers.UDP{}), clat.DropNonGlobal)
		}
		for setting, want := range map[string]config.Action{
			"": config.ActionTranslate, "translate.wkp-non-global = 'translate'": config.ActionTranslate,
			"translate.wkp-non-global = 'reject'": config.ActionReject,
		} {
			c, err := config.Parse("test.toml", []byte(setting))
			if err != nil || c.Translate.WKPNonGlobal != want {
				t.Errorf("%q: %+v, %v", setting, c, err)
			}
		}
	})

	t.Run("XLAT-8215-5-1", func(t *testing.T) {
		// Prefixes of all lengths that a network may take from 64:ff9b:1::/48, and 10.0.0.1 behind them.
		for _, f := range []struct{ prefix, address string }{
			{"64:ff9b:1::/48", "64:ff9b:1:a00:0:100::"},
			{"64:ff9b:1:ff00::/56", "64:ff9b:1:ff0a:0:1::"},
			{"64:ff9b:1:fffe::/64", "64:ff9b:1:fffe:a:0:100::"},
			{"64:ff9b:1:fffe::/96", "64:ff9b:1:fffe::a00:1"},
		} {
			tr := newTranslator(t, strict, behind(f.prefix))
			if got := embedded(t, tr, ip("10.0.0.1")); !got.Equal(ip(f.address)) {
				t.Errorf("%s: 10.0.0.1 is %v, want %v", f.prefix, got, f.address)
			}
			if got := extracted(t, tr, ip(f.address)); !got.Equal(ip("10.0.0.1")) {
				t.Errorf("%s: %v is %v, want 10.0.0.1", f.prefix, f.address, got)
			}
		}
		// Neither prefix is the other.
		dropped(t, newTranslator(t), build(t, &layers.IPv6{SrcIP: ip("64:ff9b:1::198.51.100.5")}, &layers.UDP{}), clat.DropNoMapping)
		tr := newTranslator(t, behind("64:ff9b:1::/96"))
		dropped(t, tr, build(t, &layers.IPv6{SrcIP: peer6, DstIP: farClient6}, &layers.UDP{}), clat.DropNoMapping)
	})

	t.Run("XLAT-6052-4.1-1", func(t *testing.T) {
		// The sum of the words of an address is that of the IPv4 address for the second only, whatever the prefix of the peer.
		for _, own := range []string{client6.String(), "2001:db8:1:2:aabb:ccac:2bdd:eeff"} {
			for _, prefix := range []string{"64:ff9b::/96", "64:ff9b:1:fffe::/96", "64:ff9b:1:abcd:0:5431::/96", "2001:db8:64::/96"} {
				tr := newTranslator(t, func(_ *siit.Options, s *eam.Spec) {
					s.Ours = []eam.Mapping{mapping(client4.String()+"/32", own+"/128")}
					s.PREF64 = []pref64.Prefix{pref64.MustParse(prefix)}
				})
				in := build(t, &layers.IPv4{}, &layers.UDP{}, data(9))
				out := forward(t, tr, in) // which verifies the checksum
				kept := out.udp(t).Checksum == decode(t, in).udp(t).Checksum
				if neutral := own != client6.String() && strings.HasPrefix(prefix, "64:ff9b:"); kept != neutral {
					t.Errorf("%s behind %s: the checksum is the same: %v, want %v", own, prefix, kept, neutral)
				}
				back := build(t, &layers.IPv6{SrcIP: out.dst(), DstIP: out.src()}, &layers.UDP{}, data(9))
				forward(t, tr, back).fromTo(t, peer4, client4)
			}
		}
	})
}

func TestEmbeddedSource(t *testing.T) {
	t.Run("XLAT-6052-5.1-1", func(t *testing.T) {
		many := func(_ *siit.Options, s *eam.Spec) {
			s.Ours = append(s.Ours, mapping("100.64.0.0/24", "2001:db8:1:3::/120"))
		}
		for _, role := range roles {
			refusesEmbedded(t, newTranslator(t, many, role))
		}
	})
}

// refusesEmbedded: what no remote host has is no source behind the prefix, and its neighbours are.
func refusesEmbedded(t *testing.T, tr *translator) {
	t.Helper()
	for _, src := range []string{
		"0.0.0.0", "0.255.255.255", "127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.255.255", "192.0.0.0", "192.0.0.7",
		"224.0.0.0", "239.255.255.255", "240.0.0.0", "255.255.255.255",
		client4.String(), self4.String(), "100.64.0.0", "100.64.0.255", // ours, and the translator's
	} {
		dropped(t, tr, build(t, &layers.IPv6{SrcIP: wellKnown(ip(src))}, &layers.UDP{}), clat.DropSpoofed)
		dropped(t, tr, build(t, &layers.IPv6{SrcIP: wellKnown(ip(src))}, icmp6(128, 0, 1)), clat.DropSpoofed)
	}
	for _, src := range []string{
		"1.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "192.0.0.9", "223.255.255.255",
	} {
		forward(t, tr, build(t, &layers.IPv6{SrcIP: wellKnown(ip(src))}, &layers.UDP{})).fromTo(t, ip(src), client4)
	}
}

func TestExplicitMappings(t *testing.T) {
	// eamt is the table of RFC 7757, 3.1. The first is our client; the others are hosts that it talks to.
	eamt := func(_ *siit.Options, s *eam.Spec) {
		s.Ours = []eam.Mapping{mapping("192.0.2.1/32", "2001:db8:aaaa::/128")}
		s.Map = []eam.Mapping{
			mapping("192.0.2.2/32", "2001:db8:bbbb::b/128"),
			mapping("192.0.2.16/28", "2001:db8:cccc::/124"),
			mapping("192.0.2.128/26", "2001:db8:dddd::/64"),
			mapping("192.0.2.192/29", "2001:db8:eeee:8::/62"),
			mapping("192.0.2.224/31", "64:ff9b::/127"),
		}
	}
	t.Run("XLAT-7757-3-1", func(t *testing.T) {
		// there and back: the suffix behind the IPv4 prefix stands behind the IPv6 prefix, with zeros behind it.
		thereAndBack := func(tr *translator, src4, src6, dst4, dst6 string) {
			t.Helper()
			forward(t, tr, build(t, &layers.IPv4{SrcIP: ip(src4), DstIP: ip(dst4)}, &layers.UDP{})).fromTo(t, ip(src6), ip(dst6))
			forward(t, tr, build(t, &layers.IPv6{SrcIP: ip(dst6), DstIP: ip(src6)}, &layers.UDP{})).fromTo(t, ip(dst4), ip(src4))
		}
		// A CLAT is one such mapping, and the peer goes by RFC 6052.
		thereAndBack(newTranslator(t), "192.0.0.1", "2001:db8:1:2::c1a7", "198.51.100.5", "64:ff9b::198.51.100.5")
		for _, m := range []struct{ v4, v6 string }{
			{"192.0.2.2", "2001:db8:bbbb::b"},
			{"192.0.2.16", "2001:db8:cccc::"},
			{"192.0.2.24", "2001:db8:cccc::8"},
			{"192.0.2.31", "2001:db8:cccc::f"},
			{"192.0.2.128", "2001:db8:dddd::"},
			{"192.0.2.152", "2001:db8:dddd:0:6000::"},
			{"192.0.2.183", "2001:db8:dddd:0:dc00::"},
			{"192.0.2.191", "2001:db8:dddd:0:fc00::"},
			{"192.0.2.192", "2001:db8:eeee:8::"},
			{"192.0.2.195", "2001:db8:eeee:9:8000::"},
			{"192.0.2.199", "2001:db8:eeee:b:8000::"},
			{"192.0.2.224", "64:ff9b::"}, // wins over 64:ff9b::/96, which has 0.0.0.0 there
			{"192.0.2.225", "64:ff9b::1"},
			{"192.0.2.3", "64:ff9b::192.0.2.3"}, // beside all of them
		} {
			for _, role := range roles {
				thereAndBack(newTranslator(t, eamt, role), "192.0.2.1", "2001:db8:aaaa::", m.v4, m.v6)
			}
		}
		// The longest match wins, in both families.
		tr := newTranslator(t, func(_ *siit.Options, s *eam.Spec) {
			s.Map = []eam.Mapping{
				mapping("203.0.113.0/24", "2001:db8:a::/64"),
				mapping("203.0.113.16/28", "2001:db8:b::/64"),
				mapping("203.0.113.17/32", "2001:db8:b:0:1000::/128"),
			}
		})
		thereAndBack(tr, "192.0.0.1", "2001:db8:1:2::c1a7", "203.0.113.1", "2001:db8:a:0:100::")
		thereAndBack(tr, "192.0.0.1", "2001:db8:1:2::c1a7", "203.0.113.18", "2001:db8:b:0:2000::")
		thereAndBack(tr, "192.0.0.1", "2001:db8:1:2::c1a7", "203.0.113.17", "2001:db8:b:0:1000::")
		// Bits behind the suffix are cut.
		cut := build(t, &layers.IPv6{SrcIP: ip("2001:db8:a:0:1ff:1:2:3")}, &layers.UDP{})
		forward(t, tr, cut).fromTo(t, ip("203.0.113.1"), client4)
		// The IPv6 suffix is at least as long as the IPv4 suffix (RFC 7757, 3.2).
		if _, err := eam.New(eam.Spec{Ours: []eam.Mapping{mapping("192.0.2.0/24", "2001:db8::/121")}}); err == nil {
			t.Error("a mapping of 256 IPv4 addresses to 128 IPv6 addresses was accepted")
		}
	})

	t.Run("XLAT-7757-4-1", func(t *testing.T) {
		hairpins(t)
		tr := newTranslator(t)
		// The host delivers to itself. What comes to us all the same would come back as from outside.
		dropped(t, tr, build(t, &layers.IPv4{DstIP: client4}, &layers.UDP{}), clat.DropHairpin)
		dropped(t, tr, build(t, &layers.IPv4{DstIP: client4}, icmp4(8, 0, 1)), clat.DropHairpin)
		answered(t, tr, build(t, &layers.IPv4{DstIP: self4}, &layers.UDP{}), clat.DropHairpin).icmp(t).is(t, 3, 2, 0)
		dropped(t, tr, build(t, &layers.IPv6{SrcIP: client6}, &layers.UDP{}), clat.DropSpoofed)
		dropped(t, tr, build(t, &layers.IPv6{SrcIP: wellKnown(client4)}, &layers.UDP{}), clat.DropSpoofed)
		echoesOfOurOwn(t)
	})
}
