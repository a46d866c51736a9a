package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// advertised is what a router says of itself and its link.
type advertised struct {
	lifetime  int  // seconds, as default router; 0: it is none
	reachable int  // milliseconds that a neighbour counts as reachable; 0: no word of it
	silent    bool // nothing is said of the router's link-layer address
	prefixes  []advertisedPrefix
	rdnss     netip.Addr
}

// advertisedPrefix is on-link, unless it is said otherwise, and hosts make themselves addresses of it.
type advertisedPrefix struct {
	netip.Prefix
	notAuto, offLink bool
	preferred, valid int // seconds
}

// lasting is an ordinary prefix.
func lasting(p netip.Prefix) advertisedPrefix {
	return advertisedPrefix{Prefix: p, preferred: 14400, valid: 86400}
}

// ordinary is what the router of the topology says. The laptop is told its resolver otherwise, as by DHCPv6.
func ordinary(prefixes ...advertisedPrefix) advertised {
	return advertised{lifetime: 1800, prefixes: prefixes}
}

// makesAddress says whether hosts make themselves an address in a prefix.
func (a advertised) makesAddress(in netip.Prefix) bool {
	return slices.ContainsFunc(a.prefixes, func(p advertisedPrefix) bool { return p.Prefix == in && !p.notAuto })
}

// radvd is one that runs.
type radvd struct {
	*process
	dev    string
	source netip.Addr
	file   string
}

// startRadvd has a router advertise, from one of its link-local addresses.
func startRadvd(t *testing.T, n *netlab.Node, dev string, source netip.Addr, says advertised) *radvd {
	t.Helper()
	r := &radvd{dev: dev, source: source}
	r.file = config(t, "radvd.conf", r.config(says))
	r.process = start(t, n, peers.Find(t, "radvd"), "-n", "-m", "stderr", "-C", r.file, "-p", "/run/radvd.pid")
	return r
}

// say has it advertise something else from now on.
func (r *radvd) say(t *testing.T, says advertised) {
	t.Helper()
	if err := os.WriteFile(r.file, []byte(r.config(says)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatalf("%s: %v", r.name, err)
	}
}

// config is a configuration of radvd 2.19.
func (r *radvd) config(says advertised) string {
	onOff := map[bool]string{true: "on", false: "off"}
	var b strings.Builder
	fmt.Fprintf(&b, "interface %s {\n\tAdvSendAdvert on;\n\tMinRtrAdvInterval 3;\n\tMaxRtrAdvInterval 4;\n", r.dev)
	fmt.Fprintf(&b, "\tAdvDefaultLifetime %d;\n", says.lifetime)
	if says.reachable > 0 {
		fmt.Fprintf(&b, "\tAdvReachableTime %d;\n", says.reachable)
	}
	if says.silent {
		b.WriteString("\tAdvSourceLLAddress off;\n")
	}
	for _, p := range says.prefixes {
		fmt.Fprintf(&b, "\tprefix %s {\n\t\tAdvOnLink %s;\n\t\tAdvAutonomous %s;\n", p.Prefix, onOff[!p.offLink], onOff[!p.notAuto])
		fmt.Fprintf(&b, "\t\tAdvPreferredLifetime %d;\n\t\tAdvValidLifetime %d;\n\t};\n", p.preferred, p.valid)
	}
	if says.rdnss.IsValid() {
		fmt.Fprintf(&b, "\tRDNSS %s {};\n", says.rdnss)
	}
	fmt.Fprintf(&b, "\tAdvRASrcAddress { %s; };\n};\n", r.source)
	return b.String()
}
