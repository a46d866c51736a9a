package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

// path is a way between the program and the uplink, and what of the laptop's network is otherwise by it.
type path struct {
	name  string
	addr6 string   // IPv6 address that stands for the laptop where all is configured
	flags []string // where all is configured, besides
	least string   // configuration without which the program would find something else, or nothing
	spare int      // octets that the device takes less than the uplink

	forwards bool // the laptop's kernel forwards IPv6, and is a hop
}

// The IPv6 addresses that stand for the laptop on path kernel, in the prefix that is routed to it.
const (
	clat46 = "2001:db8:c1a7::46"             // given as one address
	clat64 = "2001:db8:c1a7:0:64:402e:400:0" // 100.64.46.4 in the /64 (RFC 6052, 2.2)
)

var (
	// onKernel has the laptop's kernel forward IPv6, from and to a prefix that is routed to the laptop.
	onKernel = path{
		name: "kernel", addr6: clat46, flags: []string{"--path", "kernel"}, forwards: true,
		least: fmt.Sprintf("address.ipv6 = '%s'\n", routedPrefix),
	}
	// onPacket has the program speak IPv6 on the uplink by itself, from an address in the uplink's own prefix.
	onPacket = path{
		name: "packet", addr6: "2001:db8:1::46", flags: []string{"--path", "packet", "--address.dad", "optimistic"}, spare: 20,
	}
)

// eachPath runs a test on every path of a host, each in a network of its own.
func eachPath(t *testing.T, test func(t *testing.T, top *topology)) {
	t.Helper()
	eachPathIn(t, network{}, test)
}

// eachPathIn does so in networks of a kind.
func eachPathIn(t *testing.T, with network, test func(t *testing.T, top *topology)) {
	t.Parallel()
	t.Helper()
	for _, p := range []path{onKernel, onPacket} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			with := with
			with.path = p
			test(t, newNetwork(t, with))
		})
	}
}

// configured are flags that are together enough to run: nothing is left to be found.
func (p path) configured(more ...string) []string {
	flags := append([]string{"--mode", "force", "--uplink", "eth0", "--interface.name", tunDev, "--interface.ipv4", "100.64.46.4",
		"--pref64.prefixes", pref64.String(), "--address.ipv6", p.addr6}, p.flags...)
	return append(flags, more...)
}

// discovering is the least that has to be said: what nobody else could know. On path packet, that is nothing.
func (p path) discovering(more ...string) []string {
	var flags []string
	for line := range strings.Lines(p.least) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		flags = append(flags, "--"+key, strings.Trim(value, "'"))
	}
	return append(flags, more...)
}

// settings is a file that is enough to run, and does not say by which path.
func (p path) settings() string {
	return fmt.Sprintf("mode = 'force'\nuplink = 'eth0'\naddress.ipv6 = '%s'\npref64.prefixes = ['%s']\n", p.addr6, pref64)
}

// asAddress finds in what the program logs which IPv6 address stands for the laptop.
var asAddress = regexp.MustCompile(`msg="on: IPv4 through .*, as ([0-9a-f:]+)`)

// addr6 is the IPv6 address that stands for the laptop, as the program said it last.
func (p *process) addr6(t *testing.T) netip.Addr {
	t.Helper()
	said := asAddress.FindAllStringSubmatch(p.said(), -1)
	if said == nil {
		t.Fatalf("%s does not say as which address it is on", p.name)
	}
	addr, err := netip.ParseAddr(said[len(said)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
