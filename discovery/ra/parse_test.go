package ra

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"uclat/clat/pref64"
	"uclat/discovery"
)

// Pieces of messages, as hexadecimal digits.
const (
	header   = "86 00 0000  40 00 0708  00000000 00000000" // lifetime 1800 s
	prefixLA = "03 04 40 c0  00015180 00003840 00000000  20010db8000a0000 0000000000000000"
	prefixL  = "03 04 30 80  ffffffff ffffffff 00000000  20010db8000b0000 0000000000000001"
	source   = "01 01 020000000001"
	mtu      = "05 01 0000 00000578"
	unknown  = "fd 02 0102 030405060708 090a0b0c0d0e"
)

var router = netip.MustParseAddr("fe80::1%eth0")

func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// parsed is what a good message says of these options.
func parsed(t *testing.T, options string) discovery.Advertisement {
	t.Helper()
	ad, err := parse(octets(t, header+options), 255, router)
	if err != nil {
		t.Fatal(err)
	}
	return ad
}

// addresses has cmp compare addresses, and lists that are empty or nil as equal.
var addresses = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, pref64.Prefix{}), cmpopts.EquateEmpty()}

func TestParse(t *testing.T) {
	infoLA := discovery.PrefixInfo{Prefix: netip.MustParsePrefix("2001:db8:a::/64"), OnLink: true, Autonomous: true,
		Valid: 24 * time.Hour, Preferred: 4 * time.Hour}
	infoL := discovery.PrefixInfo{Prefix: netip.MustParsePrefix("2001:db8:b::/48"), OnLink: true,
		Valid: discovery.Infinity, Preferred: discovery.Infinity}
	infoA := discovery.PrefixInfo{Prefix: netip.MustParsePrefix("2001:db8:a::/64"), Autonomous: true}

	for _, tt := range []struct {
		name string
		text string
		want []discovery.PrefixInfo
	}{
		{"no options", header, nil},
		{"a prefix, masked", header + prefixL, []discovery.PrefixInfo{infoL}},
		{"prefixes among others", header + prefixLA + unknown + prefixL, []discovery.PrefixInfo{infoLA, infoL}},
		{"lifetimes 0", header + "03 04 40 40  00000000 00000000 00000000  20010db8000a0000 0000000000000000", []discovery.PrefixInfo{infoA}},
		{"reserved bits are ignored", header + "03 04 40 7f  00000000 00000000 ffffffff  20010db8000a0000 ffffffffffffffff",
			[]discovery.PrefixInfo{infoA}},
		{"a prefix of 129 bits spoils no other", header + "03 04 81 c0  00015180 00003840 00000000  20010db8000a0000 0000000000000000" + prefixL,
			[]discovery.PrefixInfo{infoL}},
		{"nor does one too short", header + "03 03 40 c0  00015180 00003840 00000000  20010db8000a0000" + prefixL, []discovery.PrefixInfo{infoL}},
		{"nor one too long", header + "03 05" + prefixLA[5:] + " 0000000000000000" + prefixL, []discovery.PrefixInfo{infoL}},
		{"nor a resolver without an address", header + "19 01 0000 00000e10" + prefixL, []discovery.PrefixInfo{infoL}},
		{"nor a PREF64 of no length", header + "26 02 0707 0064ff9b0000000000000000" + prefixL, []discovery.PrefixInfo{infoL}},
		{"nor a broken link-layer address", header + "01 02 0200000000010000000000000000" + prefixL, []discovery.PrefixInfo{infoL}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(octets(t, tt.text), 255, router)
			if err != nil {
				t.Fatal(err)
			}
			want := discovery.Advertisement{Router: netip.MustParseAddr("fe80::1"), Lifetime: 30 * time.Minute, Prefixes: tt.want}
			if diff := cmp.Diff(want, got, addresses); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRejects(t *testing.T) {
	for _, tt := range []struct {
		name     string
		text     string
		hopLimit int
		from     string
		want     error
	}{
		{"nothing", "", 255, "fe80::1", errShort},
		{"15 octets", header[:len(header)-2], 255, "fe80::1", errShort},
		{"a solicitation", "85" + header[2:], 255, "fe80::1", errType},
		{"a code", "86 01" + header[5:], 255, "fe80::1", errCode},
		{"hop limit 254", header + prefixLA, 254, "fe80::1", errHopLimit},
		{"hop limit unknown", header + prefixLA, 0, "fe80::1", errHopLimit},
		{"global source", header + prefixLA, 255, "2001:db8::1", errSource},
		{"unspecified source", header + prefixLA, 255, "::", errSource},
		{"IPv4 source", header + prefixLA, 255, "169.254.0.1", errSource},
		{"mapped IPv4 source", header + prefixLA, 255, "::ffff:169.254.0.1", errSource},
		{"option of length 0", header + prefixLA + "fd 00 000000000000", 255, "fe80::1", errOption},
		{"prefix of length 0", header + "03 00" + prefixLA[5:], 255, "fe80::1", errOption},
		{"option cut off", header + prefixLA + "fd 02 000000000000", 255, "fe80::1", errOption},
		{"one octet left", header + prefixLA + "fd", 255, "fe80::1", errOption},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ad, err := parse(octets(t, tt.text), tt.hopLimit, netip.MustParseAddr(tt.from))
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(discovery.Advertisement{}, ad, addresses); diff != "" {
				t.Errorf("something is left of it:\n%s", diff)
			}
		})
	}
}
