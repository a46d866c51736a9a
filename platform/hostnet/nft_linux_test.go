package hostnet

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"uclat/platform/internal/nstest"
)

// nftText is all tables as the kernel has them, in words close to those of nft(8).
func nftText(t *testing.T) string {
	t.Helper()
	conn, err := nftables.New()
	must(t, err)
	tables, err := conn.ListTables()
	must(t, err)
	chains, err := conn.ListChains()
	must(t, err)
	var b strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&b, "table family %d %s flags %#x\n", table.Family, table.Name, bits.ReverseBytes32(table.Flags)) // google/nftables reads it in the wrong byte order
		for _, c := range chains {
			if c.Table.Name != table.Name || c.Table.Family != table.Family {
				continue
			}
			fmt.Fprintf(&b, "chain %s type %s hook %d priority %d policy %d\n", c.Name, c.Type, *c.Hooknum, *c.Priority, *c.Policy)
			rules, err := conn.GetRules(table, c)
			must(t, err)
			for _, r := range rules {
				fmt.Fprintf(&b, "  %s\n", ruleText(t, conn, table, r))
			}
		}
	}
	return b.String()
}

func ruleText(t *testing.T, conn *nftables.Conn, table *nftables.Table, r *nftables.Rule) string {
	t.Helper()
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	text := false // what was loaded is a name
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Meta:
			add("%s", map[expr.MetaKey]string{expr.MetaKeyIIFNAME: "iifname", expr.MetaKeyOIFNAME: "oifname", expr.MetaKeyNFPROTO: "nfproto",
				expr.MetaKeyL4PROTO: "l4proto"}[e.Key])
			text = e.Key == expr.MetaKeyIIFNAME || e.Key == expr.MetaKeyOIFNAME
		case *expr.Cmp:
			if text {
				add("%s", strings.TrimRight(string(e.Data), "\x00"))
			} else {
				add("%v", e.Data)
			}
		case *expr.Payload:
			add("@%d,%d,%d", e.Base, e.Offset, e.Len)
		case *expr.Range:
			add("%v-%v", e.FromData, e.ToData)
		case *expr.Lookup:
			set, err := conn.GetSetByName(table, e.SetName)
			must(t, err)
			elements, err := conn.GetSetElements(set)
			must(t, err)
			slices.SortFunc(elements, func(a, b nftables.SetElement) int { return slices.Compare(a.Key, b.Key) })
			var list []string
			for _, el := range elements {
				a, _ := netip.AddrFromSlice(el.Key)
				s := a.String()
				if el.IntervalEnd {
					s = "<" + s
				}
				list = append(list, s)
			}
			add("{%s}", strings.Join(list, " "))
		case *expr.Counter:
			add("counter")
		case *expr.Verdict:
			add("%s", map[expr.VerdictKind]string{expr.VerdictAccept: "accept", expr.VerdictDrop: "drop"}[e.Kind])
		default:
			add("%T", e)
		}
	}
	return strings.Join(words, " ")
}

func TestRuleset(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		table, err := openTable()
		must(t, err)
		prefixes := func(list ...string) []addrRange {
			var ps []netip.Prefix
			for _, s := range list {
				ps = append(ps, netip.MustParsePrefix(s))
			}
			return ranges(ps)
		}
		r := ruleset{TUN: "clat0", Uplink: "eth0", CLAT: prefixes("2001:db8:1::46/128"), PREF64: prefixes("64:ff9b::/96", "2001:db8:64::/96")}
		for _, tt := range []struct {
			close closing
			more  string
		}{
			{closeNothing, ""},
			{closeUplink, "  nfproto [10] iifname eth0 counter drop\n"},
			{closeAll, "  nfproto [10] counter drop\n"},
		} {
			r.Close = tt.close
			must(t, table.replace(r)) // over the one before
			want := `table family 1 uclat flags 0x2
chain forward type filter hook 2 priority 0 policy 1
  iifname clat0 oifname eth0 nfproto [10] @1,8,16 {2001:db8:1::46 <2001:db8:1::47} @1,24,16 {64:ff9b:: <64:ff9b::1:0:0 2001:db8:64:: <2001:db8:64::1:0:0} accept
  iifname eth0 oifname clat0 nfproto [10] @1,8,16 {64:ff9b:: <64:ff9b::1:0:0 2001:db8:64:: <2001:db8:64::1:0:0} @1,24,16 {2001:db8:1::46 <2001:db8:1::47} accept
  iifname eth0 oifname clat0 nfproto [10] l4proto [58] @2,0,1 [1]-[4] @1,24,16 {2001:db8:1::46 <2001:db8:1::47} accept
  iifname clat0 nfproto [10] counter drop
  oifname clat0 nfproto [10] counter drop
  iifname clat0 oifname eth0 counter drop
  iifname eth0 oifname clat0 counter drop
` + tt.more
			if diff := cmp.Diff(want, nftText(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		if _, err := openTable(); err == nil || !strings.Contains(err.Error(), "exists already") || strings.Contains(err.Error(), "\n") {
			t.Errorf("second owner: %v", err)
		}
		// The table is ours alone, also against a flush of everything.
		other, err := nftables.New()
		must(t, err)
		other.DelTable(&nftables.Table{Name: Table, Family: nftables.TableFamilyINet})
		if err := other.Flush(); err == nil {
			t.Error("somebody else could delete the table")
		}
		other, err = nftables.New()
		must(t, err)
		other.FlushRuleset()
		must(t, other.Flush())
		if !strings.Contains(nftText(t), "table family 1 uclat") {
			t.Error("flush ruleset took the table")
		}
		must(t, table.close())
		if got := nftText(t); got != "" {
			t.Errorf("left after close:\n%s", got)
		}
	})
}

func TestRanges(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"2001:db8::/64", "2001:db8::-2001:db8::ffff:ffff:ffff:ffff"},
		{"2001:db8::1/128", "2001:db8::1-2001:db8::1"},
		{"2001:db8::1/64", "2001:db8::-2001:db8::ffff:ffff:ffff:ffff"},
		{"2001:db8::/64 2001:db8::/96 2001:db8::5/128", "2001:db8::-2001:db8::ffff:ffff:ffff:ffff"},
		{"2001:db8:0:1::/64 2001:db8::/64", "2001:db8::-2001:db8:0:1:ffff:ffff:ffff:ffff"},
		{"2001:db8::3/128 2001:db8::1/128", "2001:db8::1-2001:db8::1 2001:db8::3-2001:db8::3"},
		{"ff00::/8 ::/0", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"", ""},
	} {
		var ps []netip.Prefix
		for _, s := range strings.Fields(tt.in) {
			ps = append(ps, netip.MustParsePrefix(s))
		}
		var got []string
		for _, r := range ranges(ps) {
			got = append(got, r.first.String()+"-"+r.last.String())
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, s, tt.want)
		}
	}
}

// Ranges up to the end of all addresses, and ranges that touch, are taken by the kernel.
func TestRulesetEdges(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		table, err := openTable()
		must(t, err)
		defer table.close()
		all := ranges([]netip.Prefix{netip.MustParsePrefix("::/0")})
		many := ranges([]netip.Prefix{netip.MustParsePrefix("::/128"), netip.MustParsePrefix("::2/127"), netip.MustParsePrefix("ffff::/16")})
		must(t, table.replace(ruleset{TUN: "clat0", Uplink: "exactly15octets", CLAT: all, PREF64: many}))
	})
}

func TestReadChains(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		conn, err := nftables.New()
		must(t, err)
		table := conn.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv6})
		drop := nftables.ChainPolicyDrop
		base := conn.AddChain(&nftables.Chain{Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward,
			Priority: nftables.ChainPriorityFilter, Policy: &drop})
		user := conn.AddChain(&nftables.Chain{Name: "ufw6-user-forward", Table: table})
		name := func(s string) []byte { return append([]byte(s), make([]byte, unix.IFNAMSIZ-len(s))...) }
		way := func(in, out string) *nftables.Rule {
			return &nftables.Rule{Table: table, Chain: user, Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name(in)},
				&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name(out)},
				&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}}}
		}
		conn.AddRule(&nftables.Rule{Table: table, Chain: base, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: user.Name}}})
		conn.AddRule(way("clat0", "eth0"))
		must(t, conn.Flush())
		before := nstest.Dump(t)

		found, err := ForwardObstacles(t.Context(), "clat0", "eth0")
		must(t, err)
		if len(found) != 1 || found[0].Firewall != "ufw" || found[0].Where != "ip6 filter FORWARD" {
			t.Errorf("one way open: %+v", found)
		}
		conn.AddRule(way("eth0", "clat0"))
		must(t, conn.Flush())
		found, err = ForwardObstacles(t.Context(), "clat0", "eth0")
		must(t, err)
		if len(found) != 0 {
			t.Errorf("both ways open: %+v", found)
		}
		chains, err := readChains(t.Context())
		must(t, err)
		want := []chained{
			{Family: "ip6", Table: "filter", Name: "FORWARD", Forward: true, PolicyDrop: true, Rules: []ruled{{Plain: true}}},
			{Family: "ip6", Table: "filter", Name: "ufw6-user-forward", Rules: []ruled{
				{In: "clat0", Out: "eth0", Plain: true, Verdict: "accept"}, {In: "eth0", Out: "clat0", Plain: true, Verdict: "accept"}}},
		}
		if diff := cmp.Diff(want, chains); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(before, nstest.Dump(t)); diff != "" {
			t.Errorf("looking changed something:\n%s", diff)
		}
	})
}
