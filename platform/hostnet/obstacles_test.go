package hostnet

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestObstacles(t *testing.T) {
	ours := chained{Family: "inet", Table: "uclat", Name: "forward", Forward: true, Rules: []ruled{{In: "clat0", Verdict: "drop", Plain: true}}}
	iptables := chained{Family: "ip6", Table: "filter", Name: "FORWARD", Forward: true, PolicyDrop: true}
	named := func(family, table, name string, rules ...ruled) chained {
		return chained{Family: family, Table: table, Name: name, Rules: rules}
	}
	there := ruled{In: "clat0", Out: "eth0", Plain: true, Verdict: "accept"}
	back := ruled{In: "eth0", Out: "clat0", Plain: true, Verdict: "accept"}
	firewalld := chained{Family: "inet", Table: "firewalld", Name: "filter_FORWARD", Forward: true}
	plain := chained{Family: "inet", Table: "filter", Name: "fwd", Forward: true, PolicyDrop: true}
	const policy = "drops what it does not accept (policy drop)"

	for _, tt := range []struct {
		name   string
		chains []chained
		legacy bool
		want   []Obstacle
	}{
		{name: "nothing"},
		{name: "only ours", chains: []chained{ours}},
		{name: "a chain that accepts", chains: []chained{{Family: "ip6", Table: "filter", Name: "FORWARD", Forward: true}}},
		{name: "drop elsewhere than on forward", chains: []chained{{Family: "inet", Table: "filter", Name: "input", PolicyDrop: true}}},
		{
			name:   "ufw",
			chains: []chained{iptables, named("ip6", "filter", "ufw6-user-forward")},
			want: []Obstacle{{"ufw", "ip6 filter FORWARD", policy, []string{
				"ufw route allow in on clat0 out on eth0", "ufw route allow in on eth0 out on clat0"}}},
		},
		{
			name:   "ufw that was told already",
			chains: []chained{iptables, named("ip6", "filter", "ufw6-user-forward", there, back)},
		},
		{
			name:   "ufw that was told one way",
			chains: []chained{iptables, named("ip6", "filter", "ufw6-user-forward", there)},
			want: []Obstacle{{"ufw", "ip6 filter FORWARD", policy, []string{
				"ufw route allow in on clat0 out on eth0", "ufw route allow in on eth0 out on clat0"}}},
		},
		{
			name:   "Docker",
			chains: []chained{iptables, named("ip6", "filter", "DOCKER-USER")},
			want: []Obstacle{{"Docker", "ip6 filter FORWARD", policy, []string{
				"ip6tables -I DOCKER-USER -i clat0 -o eth0 -j ACCEPT", "ip6tables -I DOCKER-USER -i eth0 -o clat0 -j ACCEPT"}}},
		},
		{
			name:   "ufw6 of another family does not count",
			chains: []chained{iptables, named("inet", "filter", "ufw6-user-forward", there, back)},
			want: []Obstacle{{"ip6tables", "ip6 filter FORWARD", policy, []string{
				"ip6tables -I FORWARD -i clat0 -o eth0 -j ACCEPT", "ip6tables -I FORWARD -i eth0 -o clat0 -j ACCEPT"}}},
		},
		{
			name:   "firewalld",
			chains: []chained{firewalld, named("inet", "firewalld", "filter_FWD_public", ruled{In: "eth0"})},
			want: []Obstacle{{"firewalld", "inet firewalld filter_FORWARD", "rejects what its zones do not accept", []string{
				"firewall-cmd --zone=trusted --change-interface=clat0"}}},
		},
		{
			name:   "firewalld that knows the TUN",
			chains: []chained{firewalld, named("inet", "firewalld", "filter_FORWARD_POLICIES_pre", ruled{In: "clat0"})},
		},
		{
			name:   "nftables by policy",
			chains: []chained{plain},
			want: []Obstacle{{"nftables", "inet filter fwd", policy, []string{
				`nft insert rule inet filter fwd iifname "clat0" oifname "eth0" accept`,
				`nft insert rule inet filter fwd iifname "eth0" oifname "clat0" accept`}}},
		},
		{
			name: "nftables by its last rule",
			chains: []chained{{Family: "ip6", Table: "t", Name: "c", Forward: true, Rules: []ruled{
				{In: "lan0", Plain: true, Verdict: "accept"}, {Plain: true, Verdict: "drop"}}}},
			want: []Obstacle{{"nftables", "ip6 t c", "has a rule that drops or rejects everything", []string{
				`nft insert rule ip6 t c iifname "clat0" oifname "eth0" accept`,
				`nft insert rule ip6 t c iifname "eth0" oifname "clat0" accept`}}},
		},
		{
			name: "a rule that drops something",
			chains: []chained{{Family: "ip6", Table: "t", Name: "c", Forward: true, Rules: []ruled{
				{Verdict: "drop"}, {In: "lan0", Plain: true, Verdict: "drop"}}}},
		},
		{
			name: "accepted under a condition only",
			chains: []chained{{Family: "inet", Table: "filter", Name: "fwd", Forward: true, PolicyDrop: true, Rules: []ruled{
				{In: "clat0", Out: "eth0", Verdict: "accept"}, back}}},
			want: []Obstacle{{"nftables", "inet filter fwd", policy, []string{
				`nft insert rule inet filter fwd iifname "clat0" oifname "eth0" accept`,
				`nft insert rule inet filter fwd iifname "eth0" oifname "clat0" accept`}}},
		},
		{
			name:   "legacy",
			legacy: true,
			want: []Obstacle{{"ip6tables", "ip6 filter FORWARD (legacy)", "may drop what it does not accept: its rules cannot be seen from here", []string{
				"ip6tables-legacy -I FORWARD -i clat0 -o eth0 -j ACCEPT", "ip6tables-legacy -I FORWARD -i eth0 -o clat0 -j ACCEPT"}}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, obstacles(tt.chains, tt.legacy, "clat0", "eth0")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
