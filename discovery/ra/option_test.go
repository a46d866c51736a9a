package ra

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uclat/clat/pref64"
	"uclat/discovery"
)

// Options, as hexadecimal digits.
const (
	wellKnown = "26 02 0708 0064ff9b 0000000000000000" // 64:ff9b::/96, 1800 s: the example of RFC 8781
	withdrawn = "26 02 0000 0064ff9b 0000000000000000"
	servers   = "19 05 0000 00000e10 20010db8000000000000000000000053 fe800000000000000000000000000053"
)

func offer(prefix string, seconds int) discovery.Offer {
	return discovery.Offer{Prefix: pref64.MustParse(prefix), Lifetime: time.Duration(seconds) * time.Second}
}

// RFC 8781, 4.
func TestPREF64(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options string
		want    []discovery.Offer
	}{
		{"the RFC's example", wellKnown, []discovery.Offer{offer("64:ff9b::/96", 1800)}},
		{"lifetime 0 is told", withdrawn, []discovery.Offer{offer("64:ff9b::/96", 0)}},
		{"the longest lifetime", "26 02 fff8 20010db8 0122 034400000000", []discovery.Offer{offer("2001:db8:122:344::/96", 65528)}},
		{"the shortest", "26 02 0008 20010db8 0122 034400000000", []discovery.Offer{offer("2001:db8:122:344::/96", 8)}},

		{"length code 0", "26 02 0708 20010db8 0122 0344 0005 0006", []discovery.Offer{offer("2001:db8:122:344:5:6::/96", 1800)}},
		{"length code 1", "26 02 0709 20010db8 0122 0344 0000 0000", []discovery.Offer{offer("2001:db8:122:344::/64", 1800)}},
		{"length code 2", "26 02 070a 20010db8 0122 0300 0000 0000", []discovery.Offer{offer("2001:db8:122:300::/56", 1800)}},
		{"length code 3", "26 02 070b 20010db8 0122 0000 0000 0000", []discovery.Offer{offer("2001:db8:122::/48", 1800)}},
		{"length code 4", "26 02 070c 20010db8 0100 0000 0000 0000", []discovery.Offer{offer("2001:db8:100::/40", 1800)}},
		{"length code 5", "26 02 070d 20010db8 0000 0000 0000 0000", []discovery.Offer{offer("2001:db8::/32", 1800)}},
		{"length code 6", "26 02 070e 20010db8 0000 0000 0000 0000", nil},
		{"length code 7", "26 02 070f 20010db8 0000 0000 0000 0000", nil},
		{"length 1", "26 01 0708 0064ff9b", nil},
		{"length 3", "26 03 0708 0064ff9b 0000000000000000 0000000000000000", nil},

		{"masked under length code 1", "26 02 0709 20010db8 0122 0344 ffff ffff", []discovery.Offer{offer("2001:db8:122:344::/64", 1800)}},
		{"masked under length code 2", "26 02 070a 20010db8 0122 03ff ffff ffff", []discovery.Offer{offer("2001:db8:122:300::/56", 1800)}},
		{"masked under length code 5", "26 02 070d 20010db8 ffff ffff ffff ffff", []discovery.Offer{offer("2001:db8::/32", 1800)}},

		{"multicast", "26 02 0708 ff0e0000 0000000000000000", nil},
		{"link-local", "26 02 0708 fe800000 0000000000000000", nil},
		{"::", "26 02 0708 00000000 0000000000000000", nil},
		{"::ffff:0:0/96", "26 02 0708 00000000 000000000000ffff", nil},
		{"the well-known prefix as /64", "26 02 0709 0064ff9b 0000000000000000", nil},
		{"the well-known prefix as /32", "26 02 070d 0064ff9b 0000000000000000", nil},
		{"64:ff9b:1::/48 (RFC 8215)", "26 02 070b 0064ff9b 0001 000000000000", []discovery.Offer{offer("64:ff9b:1::/48", 1800)}},
		{"bits 64 to 71 of a /96 (RFC 6052, 2.2)", "26 02 0708 20010db8 0122 0344 0100 0000", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := discovery.Advertisement{Router: netip.MustParseAddr("fe80::1"), Lifetime: 30 * time.Minute, PREF64: tt.want}
			if diff := cmp.Diff(want, parsed(t, tt.options), addresses); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			// Whatever it is, it spoils no other.
			want.PREF64 = append([]discovery.Offer{offer("2001:db8:64::/96", 8)}, append(tt.want, offer("2001:db8:65::/96", 16))...)
			around := "26 02 0008 20010db8 0064 000000000000" + tt.options + "26 02 0010 20010db8 0065 000000000000"
			if diff := cmp.Diff(want, parsed(t, around), addresses); diff != "" {
				t.Errorf("among others (-want +got):\n%s", diff)
			}
		})
	}
}

// RFC 8106, 5.1.
func TestServers(t *testing.T) {
	server := func(addr string) discovery.Resolver {
		return discovery.Resolver{Addr: netip.MustParseAddr(addr), Lifetime: time.Hour}
	}
	for _, tt := range []struct {
		name    string
		options string
		want    []discovery.Resolver
	}{
		{"two", servers, []discovery.Resolver{server("2001:db8::53"), server("fe80::53")}},
		{"two options", "19 03 0000 00000e10 20010db8000000000000000000000001" + "19 03 0000 00000e10 20010db8000000000000000000000002",
			[]discovery.Resolver{server("2001:db8::1"), server("2001:db8::2")}},
		{"for ever", "19 03 0000 ffffffff 20010db8000000000000000000000001",
			[]discovery.Resolver{{Addr: netip.MustParseAddr("2001:db8::1"), Lifetime: discovery.Infinity}}},
		{"lifetime 0 is told", "19 03 0000 00000000 20010db8000000000000000000000001",
			[]discovery.Resolver{{Addr: netip.MustParseAddr("2001:db8::1")}}},
		{"none", "19 01 0000 00000e10", nil},
		{"half of one", "19 02 0000 00000e10 20010db800000000", nil},
		{"one and a half", "19 04 0000 00000e10 20010db8000000000000000000000001 20010db800000000", nil},
		{"bad ones beside a good one", "19 0b 0000 00000e10" + strings.Repeat("00", 16) + strings.Repeat("00", 15) + "01" +
			"ff020000000000000000000000000001" + "00000000000000000000ffff7f000001" + "20010db8000000000000000000000001",
			[]discovery.Resolver{server("2001:db8::1")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parsed(t, tt.options).Servers, addresses); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := parsed(t, tt.options+wellKnown); len(got.PREF64) != 1 {
				t.Errorf("it spoils what is behind it: %+v", got)
			}
		})
	}
}

// RFC 4861, 4.6.4 and 4.6.1.
func TestLinkOptions(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options string
		mtu     int
		source  string
	}{
		{"both", source + mtu, 1400, "02:00:00:00:00:01"},
		{"MTU 0", "05 01 0000 00000000", 0, ""},
		{"MTU 1279", "05 01 0000 000004ff", 0, ""},
		{"MTU 1280", "05 01 0000 00000500", 1280, ""},
		{"MTU 65575", "05 01 0000 00010027", 65575, ""},
		{"MTU 65576", "05 01 0000 00010028", 0, ""},
		{"MTU 2^32-1", "05 01 0000 ffffffff", 0, ""},
		{"MTU, reserved bits set", "05 01 ffff 00000578", 1400, ""},
		{"MTU, too long", "05 02 0000 00000578 0000000000000000", 0, ""},
		{"the first good MTU", "05 01 0000 00000000" + mtu + "05 01 0000 000005dc", 1400, ""},
		{"no address", "01 01 000000000000", 0, ""},
		{"a group", "01 01 333300000001", 0, ""},
		{"of another kind of link", "01 03 0200000000010000000000000000 0000000000000000", 0, ""},
		{"the first good address", "01 01 000000000000" + source + "01 01 020000000002", 0, "02:00:00:00:00:01"},
		{"a target's", "02 01 020000000001", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parsed(t, tt.options+wellKnown)
			want := discovery.Advertisement{Router: netip.MustParseAddr("fe80::1"), Lifetime: 30 * time.Minute, MTU: tt.mtu, Hardware: tt.source,
				PREF64: []discovery.Offer{offer("64:ff9b::/96", 1800)}}
			if diff := cmp.Diff(want, got, addresses); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Of one message so many of each are taken, in their order, though there are more.
func TestOptionsAreBounded(t *testing.T) {
	var options strings.Builder
	for i := range 100 {
		fmt.Fprintf(&options, "26 02 0708 20010db8 %04x 000000000000", i)
		fmt.Fprintf(&options, "03 04 40 c0 00015180 00003840 00000000 20010db8%04x0000 0000000000000000", i)
		fmt.Fprintf(&options, "19 05 0000 00000e10 20010db8%04x00000000000000000001 20010db8%04x00000000000000000002", i, i)
	}
	ad := parsed(t, options.String()+mtu)
	if len(ad.PREF64) != 16 || len(ad.Prefixes) != 32 || len(ad.Servers) != 8 || ad.MTU != 1400 {
		t.Fatalf("%d PREF64s, %d prefixes, %d servers, MTU %d", len(ad.PREF64), len(ad.Prefixes), len(ad.Servers), ad.MTU)
	}
	if ad.PREF64[15] != offer("2001:db8:f::/96", 1800) || ad.Prefixes[31].Prefix != netip.MustParsePrefix("2001:db8:1f::/64") ||
		ad.Servers[7].Addr != netip.MustParseAddr("2001:db8:3::2") {
		t.Errorf("not the first ones, in order: %+v", ad)
	}
}
