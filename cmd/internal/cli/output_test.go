package cli

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uclat/cmd/internal/explain"
)

func TestExplanation(t *testing.T) {
	const translated = `
  IPv4     100.64.46.4 -> 198.51.100.10
  IPv6     2001:db8::46 -> 64:ff9b::c633:640a
  PREF64   64:ff9b::/96, configured
  uplink   eth0, 1500 octets of IPv6, so 1480 of IPv4
  path     packet: because
`
	v4 := [2]netip.Addr{netip.MustParseAddr("100.64.46.4"), netip.MustParseAddr("198.51.100.10")}
	v6 := [2]netip.Addr{netip.MustParseAddr("2001:db8::46"), netip.MustParseAddr("64:ff9b::198.51.100.10")}
	for _, tt := range []struct {
		x    explain.Explanation
		want string
	}{
		{explain.Explanation{Translated: &explain.Translated{From: v4, To: v6}, MTU6: 1500, MTU4: 1480, Uplink: "eth0"}, translated},
		{explain.Explanation{Translated: &explain.Translated{From: [2]netip.Addr{v6[1], v6[0]}, To: [2]netip.Addr{v4[1], v4[0]}}}, `
  IPv6     64:ff9b::c633:640a -> 2001:db8::46
  IPv4     198.51.100.10 -> 100.64.46.4
  PREF64   64:ff9b::/96, configured
  path     packet: because
`},
		{explain.Explanation{Drop: "multicast", Why: "its destination is multicast"}, `
  dropped   its destination is multicast (multicast)
  PREF64    64:ff9b::/96, configured
`},
		{explain.Explanation{
			AsSource:      &explain.Mapped{Drop: "spoofed-source", Why: "its source is wrong"},
			AsDestination: &explain.Mapped{To: v6[0], By: "PREF64 64:ff9b::/96, then map 100.64.46.4=2001:db8::46"}, Route: "::/0 by clat0",
		}, `
  as source        dropped: its source is wrong (spoofed-source)
  as destination   2001:db8::46 by PREF64 64:ff9b::/96, then map 100.64.46.4=2001:db8::46
  route            ::/0 by clat0
`},
		{explain.Explanation{Native: "a route is better"}, "\n  not translated   a route is better\n"},
	} {
		tt.x.PREF64, tt.x.Origin = "64:ff9b::/96", "configured"
		tt.x.Path, tt.x.PathWhy = "packet", "because"
		var b strings.Builder
		if err := printTable(&b, explanation(tt.x)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), b.String()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}

// JSON is for programs and people: nothing in it is escaped that needs not be.
func TestJSONIsReadable(t *testing.T) {
	var b strings.Builder
	if err := printJSON(&b, "a -> b & <c>"); err != nil || b.String() != "\"a -> b & <c>\"\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// Output that cannot be written is no wrong use.
func TestBrokenOutput(t *testing.T) {
	for _, err := range []error{printJSON(brokenPipe{}, 1), printTable(brokenPipe{}, [][2]string{{"a", "b"}})} {
		if !errors.As(err, new(fault)) {
			t.Errorf("%v", err)
		}
	}
}
