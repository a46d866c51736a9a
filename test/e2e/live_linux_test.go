package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// What the program says of its plan, and who told it the PREF64.
var (
	planLine = regexp.MustCompile(`(?m) msg="((?:on|off|waiting|on, degraded): [^"]*)"`)
	onLine   = regexp.MustCompile(`^on: IPv4 through (\S+), PREF64 (\S+) \((.*?)\), as ([0-9a-f:]+)`)
)

// plans are the plans that the program logged, each in one line.
func (p *process) plans() (lines []string) {
	for _, m := range planLine.FindAllStringSubmatch(p.said(), -1) {
		lines = append(lines, m[1])
	}
	return lines
}

// plan is the last one; empty where there is none yet.
func (p *process) plan() string {
	lines := p.plans()
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// onBy waits until IPv4 goes by a PREF64 that was told by somebody, such as "router fe80::1".
func (p *process) onBy(t *testing.T, pref64 netip.Prefix, who string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is on with %s from %s", p.name, pref64, who), func() bool {
		m := onLine.FindStringSubmatch(p.plan())
		return m != nil && m[2] == pref64.String() && strings.Contains(m[3]+" ", who+" ")
	})
}

// waits waits until the program waits for a PREF64.
func (p *process) waits(t *testing.T) {
	t.Helper()
	eventually(t, p.name+" waits for a PREF64", func() bool { return strings.HasPrefix(p.plan(), "waiting: no PREF64") })
}

// byRouter is who tells what the topology's first router announces, and bySecond the other one.
var (
	byRouter = "router " + routerLL.Addr().String()
	bySecond = "router " + router2LL.Addr().String()
)

// bySource finds the source of an IPv4 default route.
var bySource = regexp.MustCompile(`^default dev ` + tunDev + ` .*\bsrc (\S+)`)

// source is the IPv4 address that new flows of the laptop have. It is invalid where there is no way for them.
func (top *topology) source(t *testing.T) netip.Addr {
	t.Helper()
	m := bySource.FindStringSubmatch(must(t, top.laptop, peers.Find(t, "ip"), "-4", "route", "show", "default"))
	if m == nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// sources are the IPv4 addresses of the TUN device, in order.
func (top *topology) sources(t *testing.T) []netip.Addr {
	t.Helper()
	prefixes, err := top.laptop.Addrs(tunDev)
	if err != nil {
		t.Fatal(err)
	}
	var addrs []netip.Addr
	for _, p := range prefixes {
		if p.Addr().Is4() {
			addrs = append(addrs, p.Addr())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

// generations are the IPv4 addresses of the first, the second, the third and the fourth pair.
var generations = [...]netip.Addr{
	self4, netip.MustParseAddr("100.64.46.6"), netip.MustParseAddr("100.64.46.7"), netip.MustParseAddr("100.64.46.1"),
}

// flowsBy captures what the laptop sends to the server by a PREF64.
func (top *topology) flowsBy(t *testing.T, p netip.Prefix) *capture {
	t.Helper()
	return startCapture(t, top.laptop, top.uplink, "ip6 dst host "+embed(p, server4).String())
}

// newFlowsBy finds that a new flow of the laptop goes by a PREF64, to a router's link-layer address; and returns its IPv6 source.
func (top *topology) newFlowsBy(t *testing.T, p netip.Prefix, router byte) netip.Addr {
	t.Helper()
	const size = 123 // octets of its own, as there may be other pings
	seen := startCapture(t, top.laptop, top.uplink, fmt.Sprintf("icmp6 and ip6[40] == 128 and ip6[4:2] == %d", 8+size))
	must(t, top.laptop, peers.Find(t, "ping"), "-c", "1", "-w", "5", "-s", fmt.Sprint(size), server4.String())
	frames := seen.frames(t)
	if len(frames) == 0 {
		t.Fatal("no ping was seen")
	}
	var source netip.Addr
	for _, f := range frames {
		to := netip.AddrFrom16([16]byte(f[14+24:]))
		source = netip.AddrFrom16([16]byte(f[14+8:]))
		if to != embed(p, server4) || [6]byte(f) != [6]byte(mac(router)) {
			t.Errorf("a ping went from %s to %s, at % x; want one by %s", source, to, f[:6], p)
		}
	}
	return source
}

// The last octets of the link-layer addresses of the routers.
const (
	atRouter = 0x12
	atSecond = 0x13
)

// onlyFrom has a router drop what comes from hosts whose address is not of its prefix.
func onlyFrom(t *testing.T, n *netlab.Node, prefix netip.Prefix) {
	t.Helper()
	rules := fmt.Sprintf(`table ip6 savi {
	chain forward {
		type filter hook forward priority 0
		iifname lan0 ip6 saddr != %s counter drop
	}
}
`, prefix)
	if r := tryInput(t, n, rules, peers.Find(t, "nft"), "-f", "-"); r.code != 0 {
		t.Fatalf("nft: %+v", r)
	}
}
