package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// config writes a file for a daemon and returns its path.
func config(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// startUnbound starts a resolver with DNS64 on the router. It knows a whole little internet: as an authoritative zone that serves
// its own recursion, since what unbound answers from local-data is not synthesised from.
func (top *topology) startUnbound(t *testing.T) {
	t.Helper()
	zone := config(t, "root.zone", fmt.Sprintf(`$TTL 60
.             SOA  ns.lab.test. root.lab.test. 1 3600 600 86400 60
.             NS   ns.lab.test.
ns.lab.test.  AAAA %s
ipv4only.arpa. A   192.0.0.170
ipv4only.arpa. A   192.0.0.171
server.lab.test. A %s
router.lab.test. AAAA %s
`, routerLAN.Addr(), server4, routerLAN.Addr()))
	text := fmt.Sprintf(`server:
	chroot: ""
	username: ""
	pidfile: ""
	directory: "%s"
	use-syslog: no
	verbosity: 1
	do-daemonize: no
	num-threads: 1
	interface: %s
	access-control: ::/0 allow
	module-config: "dns64 iterator"
	dns64-prefix: %s
	local-zone: "test." nodefault
	local-zone: "ipv4only.arpa." nodefault
remote-control:
	control-enable: no
auth-zone:
	name: "."
	zonefile: "%s"
	for-downstream: no
	for-upstream: yes
`, filepath.Dir(zone), routerLAN.Addr(), pref64, zone)
	unbound := start(t, top.router, peers.Find(t, "unbound"), "-d", "-c", config(t, "unbound.conf", text))
	unbound.wait(t, "start of service")
}

// startTAYGA starts the PLAT's translator: each IPv6 source that it sees gets an IPv4 address of the pool.
func (top *topology) startTAYGA(t *testing.T) {
	t.Helper()
	top.runTAYGA(t, 1500, platPool)
}

// restartTAYGA has it begin anew, with a device of so many octets, another pool, and more lines of configuration, such as "map IPV4 IPV6".
func (top *topology) restartTAYGA(t *testing.T, mtu int, pool netip.Prefix, more ...string) {
	t.Helper()
	top.tayga.stop(t, syscall.SIGTERM)
	must(t, top.plat, peers.Find(t, "ip"), "link", "delete", "nat64")
	top.runTAYGA(t, mtu, pool, more...)
}

func (top *topology) runTAYGA(t *testing.T, mtu int, pool netip.Prefix, more ...string) {
	t.Helper()
	text := fmt.Sprintf("tun-device nat64\nipv4-addr %s\nprefix %s\ndynamic-pool %s\n%s\n", platSelf, pref64, pool, strings.Join(more, "\n"))
	file := config(t, "tayga.conf", text)
	tayga := peers.Find(t, "tayga")
	must(t, top.plat, tayga, "--mktun", "-c", file) // it asks for the MTU when it starts
	setMTU(t, top.plat, "nat64", mtu)
	top.tayga = start(t, top.plat, tayga, "-n", "-c", file, "-p", "/run/tayga.pid")
	if err := top.plat.SetUp("nat64", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "TAYGA serves its device", func() bool {
		link, err := top.plat.Netlink().LinkByName("nat64")
		return err == nil && link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
	})
	for _, r := range []netlab.Route{{Dst: pref64, Dev: "nat64"}, {Dst: pool, Dev: "nat64"}} {
		if err := top.plat.AddRoute(r); err != nil {
			t.Fatal(err)
		}
	}
}

// masquerade hides TAYGA's pool behind the PLAT's IPv4 address.
func (top *topology) masquerade(t *testing.T) {
	t.Helper()
	const rules = `table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat
		oifname wan0 masquerade
	}
}
`
	if r := tryInput(t, top.plat, rules, peers.Find(t, "nft"), "-f", "-"); r.code != 0 {
		t.Fatalf("nft ended with %d: %s", r.code, r.stderr)
	}
}

// startServer starts what the IPv4-only server offers.
func (top *topology) startServer(t *testing.T) {
	t.Helper()
	top.startRole(t, top.server, "server", serverOptions{Addr: server4})
}

// startRole starts a role, waits until it is ready, and stops it with the test.
func (top *topology) startRole(t *testing.T, n *netlab.Node, name string, arg any) {
	t.Helper()
	var ready string
	top.askRole(t, n, name, arg, &ready)
}

// askRole starts a role, waits for its first report, and stops it with the test.
func (top *topology) askRole(t *testing.T, n *netlab.Node, name string, arg, report any) {
	t.Helper()
	role, err := n.Role(t.Context(), name, arg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := role.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := role.Next(report); err != nil {
		t.Fatalf("role %s in %s: %v", name, n.Name(), err)
	}
}
