package policy

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// RFC 6724, 5, as far as it tells candidates of one interface apart. Each row is best first, and comes out the same in any order.
func TestSourceSelection(t *testing.T) {
	for _, tt := range []struct{ rule, plat, want string }{
		{"rule 3: preferred before deprecated", wkp, "2001:db8:2::/64, 2001:db8:1::/64 deprecated"},
		{"also where the label is another one", wkp, "fd00:1::/64, 2001:db8:1::/64 deprecated"},
		{"also where the match is longer", "2001:db8:1:64::/96", "2a00:1::/64, 2001:db8:1::/64 deprecated"},
		{"among deprecated ones the others", wkp, "2001:db8:1::/64 deprecated, fd00:1::/64 deprecated"},

		{"rule 6: a global PREF64 goes with global addresses", wkp, "2001:db8:1::/64, fd00:1::/64"},
		{"and any network's own one", "2001:db8:64::/96", "2001:db8:1::/64, fd00:1::/64"},
		{"a unique local PREF64 with unique local ones", "fd00:64::/96", "fd00:1::/64, 2001:db8:1::/64"},
		{"whatever their bits have in common", "2001:db8:64::/96", "2a00:1::/64, 2001:0:1::/64"},
		{"6to4 is for 6to4", wkp, "2a00:1::/64, 2002:c000:201:1::/64"},
		{"and goes before all else there", "2002:c000:264::/96", "2002:c000:201:1::/64, 2003:1::/64"},
		{"Teredo's label is for Teredo", wkp, "2001:db8:1::/64, 2001:0:1::/64"},
		{"and 3ffe::/16 is not of the Internet", wkp, "3fff:1::/64, 3ffe:1::/64"},

		{"rule 8: the longest match", "2001:db8:2:64::/96", "2001:db8:2::/64, 2001:db8:1::/64"},
		{"of all its bits", "2001:db8:1:7fff::/96", "2001:db8:1:7ffe::/64, 2001:db8:1:7ffd::/64, 2001:db8:1:8000::/64"},
		{"but not of the interface identifier", "64:ff9b::/96", "64:ff9b:0:1::/64, 2001:db8::/64"},
		{"unique local ones too", "fd00:2:64::/96", "fd00:2:1::/64, fd00:1:1::/64"},

		{"by hand after what is announced", wkp, "2001:db8:2::/64, 2001:db8:1::/64 by hand"},
		{"also where the match is longer", "2001:db8:1:64::/96", "2a00:1::/64, 2001:db8:1::/64 by hand"},
		{"but before another label, from which nothing comes back", wkp, "2001:db8:1::/64 by hand, fd00:1::/64"},

		{"no rule: always the same", wkp, "2001:db8:1::/64, 2001:db8:2::/64, 2001:db8:3::/64"},
		{"all of them", "2001:db8:2:64::/96", "2001:db8:2::/64, 2a00:1::/64, 2001:db8:2:1::/64 by hand, fd00:1::/64, fd00:2::/64 by hand, " +
			"2001:db8:1::/64 deprecated, fd00:3::/64 deprecated"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			var all []candidate
			for text := range strings.SplitSeq(tt.want, ", ") {
				prefix, words, _ := strings.Cut(text, " ")
				all = append(all, candidate{prefix: netip.MustParsePrefix(prefix), deprecated: words == "deprecated", byHand: words == "by hand"})
			}
			random := rand.New(rand.NewPCG(1, uint64(len(all))))
			for range 50 {
				random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				bySourceSelection(all, netip.MustParsePrefix(tt.plat).Addr())
				if diff := cmp.Diff(tt.want, candidatesText(all)); diff != "" {
					t.Fatalf("toward %s (-want +got)\n%s", tt.plat, diff)
				}
			}
		})
	}
}

func candidatesText(all []candidate) string {
	var texts []string
	for _, c := range all {
		text := c.prefix.String()
		if c.deprecated {
			text += " deprecated"
		}
		if c.byHand {
			text += " by hand"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

func TestCommonBits(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"2001:db8::1", "2001:db8::1", 64}, // the rest is interface identifier
		{"2001:db8::", "2001:db8:0:1::", 63},
		{"2001:db8::", "2001:db8:8000::", 32},
		{"::1", "8000::", 0},
		{"64:ff9b::", "64:ff9b:1::", 47},
	} {
		if got := commonBits(netip.MustParseAddr(tt.a), netip.MustParseAddr(tt.b)); got != tt.want {
			t.Errorf("%s and %s: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
