package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uclat/platform/resolver"
	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// ofLinkEnv is the environment variable that has TestResolversOfLink look itself, for the link of that name.
const ofLinkEnv = "UCLAT_E2E_RESOLVERS_OF"

// TestResolversOfLink asks Debian's systemd-resolved and NetworkManager on a bus of their own which resolvers a link has, while they know
// those of a VPN too, hang, may not be asked or do not run, and what remains of /etc/resolv.conf then (RFC 8880, 7.1).
func TestResolversOfLink(t *testing.T) {
	if name := os.Getenv(ofLinkEnv); name != "" {
		tellResolvers(t, name)
		return
	}
	t.Parallel()
	peers.NeedRoot(t)
	h := newManagedHost(t)

	h.resolvConf(t, "2001:db8:1::1")
	const plain = "[2001:db8:1::1]:53 from /etc/resolv.conf"
	h.resolversAre(t, "nobody on the bus", "eth0", plain)
	if _, err := os.Stat(h.activated); err == nil {
		t.Error("a service that did not run was started")
	}

	h.startResolved(t)
	h.resolversAre(t, "systemd-resolved knows of no link's", "eth0", plain)
	must(t, h.node, h.resolvectl, "dns", "eth0", "2001:db8:1::53", "fe80::53", "192.0.2.53:5353#dns.example", "127.0.0.1")
	must(t, h.node, h.resolvectl, "dns", "tun0", "10.8.0.1", "2001:db8:8::53")
	const resolved = "[2001:db8:1::53]:53 [fe80::53%eth0]:53 192.0.2.53:5353 from systemd-resolved"
	h.resolversAre(t, "of the link", "eth0", resolved)
	h.resolversAre(t, "of the VPN", "tun0", "10.8.0.1:53 [2001:db8:8::53]:53 from systemd-resolved")

	h.resolvConf(t, "127.0.0.53")
	must(t, h.node, h.resolvectl, "dns", "eth0", "")
	h.resolversAre(t, "of the system, not of the VPN", "eth0", "[2001:db8:9::53]:53 from /run/systemd/resolve/resolv.conf")

	// It has resolvers of its own, and writes them down nowhere.
	h.startNetworkManager(t)
	const networkManager = "[2001:db8:1::54]:53 [fe80::54%eth0]:53 192.0.2.54:53 from NetworkManager"
	h.resolversAre(t, "NetworkManager has configured the link", "eth0", networkManager)
	h.resolversAre(t, "of the VPN", "tun0", "10.8.0.1:53 [2001:db8:8::53]:53 from systemd-resolved")
	must(t, h.node, h.resolvectl, "dns", "eth0", "2001:db8:1::53")
	h.resolversAre(t, "both know", "eth0", "[2001:db8:1::53]:53 from systemd-resolved")

	h.signal(t, h.resolved, syscall.SIGSTOP)
	h.resolversAre(t, "systemd-resolved hangs", "eth0", networkManager)
	h.signal(t, h.networkManager, syscall.SIGSTOP)
	h.resolvConf(t, "2001:db8:1::1")
	h.resolversAre(t, "both hang", "eth0", plain)
	h.signal(t, h.resolved, syscall.SIGCONT)
	h.resolversAre(t, "systemd-resolved goes on", "eth0", "[2001:db8:1::53]:53 from systemd-resolved")

	h.signal(t, h.networkManager, syscall.SIGCONT)
	h.writeBus(t, `<deny send_destination="org.freedesktop.resolve1"/>`)
	h.signal(t, h.bus, syscall.SIGHUP)
	h.resolversAre(t, "systemd-resolved may not be asked", "eth0", networkManager)
	h.resolvConf(t, "2001:db8:7::53", "2001:db8:6::53")
	h.resolversAre(t, "NetworkManager says which are of the VPN", "tun1", "[2001:db8:6::53]:53 from /etc/resolv.conf")
	h.bus.stop(t, syscall.SIGTERM)
	h.resolversAre(t, "no bus", "tun1", "[2001:db8:7::53]:53 [2001:db8:6::53]:53 from /etc/resolv.conf")
}

// tellResolvers prints the resolvers of a link of this host.
func tellResolvers(t *testing.T, name string) {
	t.Helper()
	index, err := os.ReadFile("/sys/class/net/" + name + "/ifindex")
	if err != nil {
		t.Fatal(err)
	}
	i, err := strconv.Atoi(strings.TrimSpace(string(index)))
	if err != nil {
		t.Fatal(err)
	}
	servers, err := resolver.Of(t.Context(), i, name)
	if err != nil {
		t.Fatal(err)
	}
	for n, s := range servers.List { // in words that a test can know beforehand
		if a := s.Addr(); a.Zone() == strconv.Itoa(i) {
			servers.List[n] = netip.AddrPortFrom(a.WithZone(name), s.Port())
		}
	}
	text, err := json.Marshal(servers)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nresolvers %s\n", text)
}

// busAddress is where the bus of a host is.
const busAddress = "unix:path=/run/dbus/system_bus_socket"

// managedHost is a laptop with an uplink eth0 and the VPNs tun0 and tun1, whose network others configure.
type managedHost struct {
	node                          *netlab.Node
	bus, resolved, networkManager *process
	resolvectl                    peers.Program
	activated                     string // file that the bus makes when it starts a service
}

func newManagedHost(t *testing.T) *managedHost {
	t.Helper()
	h := &managedHost{resolvectl: peers.Find(t, "resolvectl"), activated: filepath.Join(t.TempDir(), "activated")}
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	node, err := lab.Node("laptop", netlab.NodeOptions{NoDAD: true})
	if err != nil {
		t.Fatal(err)
	}
	net, err := lab.Node("net", netlab.NodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.node = node
	for _, dev := range []string{"eth0", "tun0", "tun1"} {
		if err := netlab.Connect(node, dev, net, dev, netlab.LinkOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	h.writeBus(t, "")
	h.bus = start(t, node, peers.Find(t, "dbus-daemon"), "--config-file=/run/dbus/bus.conf", "--nofork", "--nopidfile", "--print-address")
	h.bus.wait(t, "unix:path=")
	return h
}

// writeBus configures the bus. Whoever asks for a service that does not run would have it started.
func (h *managedHost) writeBus(t *testing.T, policy string) {
	t.Helper()
	services := t.TempDir()
	for _, name := range []string{"org.freedesktop.resolve1", "org.freedesktop.NetworkManager"} {
		text := fmt.Sprintf("[D-BUS Service]\nName=%s\nExec=/bin/touch %s\n", name, h.activated)
		if err := os.WriteFile(filepath.Join(services, name+".service"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
	<listen>%s</listen>
	<auth>EXTERNAL</auth>
	<servicedir>%s</servicedir>
	<policy context="default">
		<allow user="*"/>
		<allow own="*"/>
		<allow send_destination="*" eavesdrop="true"/>
		<allow eavesdrop="true"/>
		%s
	</policy>
</busconfig>
`, busAddress, services, policy)
	if err := h.node.WriteFile("/run/dbus/bus.conf", []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// startResolved starts systemd-resolved, which has a resolver of its own, for the system as a whole.
func (h *managedHost) startResolved(t *testing.T) {
	t.Helper()
	const conf = "[Resolve]\nDNS=\nDNS=2001:db8:9::53\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\n"
	err := h.node.WriteFile("/run/systemd/resolved.conf.d/lab.conf", []byte(conf))
	for path, line := range map[string]string{
		"/etc/passwd": "systemd-resolve:x:65000:65000::/:/usr/sbin/nologin\n", "/etc/group": "systemd-resolve:x:65000:\n",
	} {
		text, readErr := os.ReadFile(path)
		if err = errors.Join(err, readErr); !strings.Contains(string(text), "\nsystemd-resolve:") {
			err = errors.Join(err, h.node.WriteFile(path, append(text, line...)))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	h.resolved = start(t, h.node, peers.Find(t, "systemd-resolved"))
	eventually(t, "systemd-resolved answers", func() bool { return try(t, h.node, h.resolvectl, "dns").code == 0 })
}

// startNetworkManager starts NetworkManager, which has resolvers for eth0 and tun0.
func (h *managedHost) startNetworkManager(t *testing.T) {
	t.Helper()
	// A read-only /sys tells it that no udev will present it the devices. What it remembers is not the machine's.
	must(t, h.node, peers.Find(t, "sh"), "-c", `mount -o remount,bind,ro /sys
		for d in /var/lib/NetworkManager /etc/NetworkManager; do [ ! -d $d ] || mount -t tmpfs none $d || exit 1; done`)
	dir := t.TempDir()
	for name, ips := range map[string]string{
		"eth0": "[ipv6]\nmethod=manual\naddress1=2001:db8:1::5/64\ndns=2001:db8:1::54;fe80::54;\n" +
			"[ipv4]\nmethod=manual\naddress1=192.0.2.5/24\ndns=192.0.2.54;\n",
		"tun0": "[ipv6]\nmethod=manual\naddress1=2001:db8:8::5/64\ndns=2001:db8:7::53;\n[ipv4]\nmethod=disabled\n",
	} {
		text := fmt.Sprintf("[connection]\nid=%s\nuuid=00000000-0000-4000-8000-%012x\ntype=ethernet\ninterface-name=%s\n%s", name, name, name, ips)
		if err := os.WriteFile(filepath.Join(dir, name+".nmconnection"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf := fmt.Sprintf("[main]\nplugins=keyfile\nauth-polkit=false\ndns=none\nsystemd-resolved=false\nrc-manager=unmanaged\nno-auto-default=*\n"+
		"[keyfile]\npath=%s\nunmanaged-devices=interface-name:tun1\n[logging]\nlevel=INFO\n", dir)
	h.networkManager = start(t, h.node, peers.Find(t, "NetworkManager"), "--debug", "--config="+config(t, "nm.conf", conf),
		"--config-dir=/run/none", "--system-config-dir=/run/none", "--pid-file=/run/nm.pid", "--state-file=/run/nm.state")
}

func (h *managedHost) resolvConf(t *testing.T, servers ...string) {
	t.Helper()
	text := ""
	for _, s := range servers {
		text += "nameserver " + s + "\n"
	}
	if err := h.node.WriteFile("/etc/resolv.conf", []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func (h *managedHost) signal(t *testing.T, p *process, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
}

var toldResolvers = regexp.MustCompile(`(?m)^resolvers (.*)$`)

// resolvers are those of a link of the host.
func (h *managedHost) resolvers(t *testing.T, link string) string {
	t.Helper()
	self := peers.Program{Path: "/proc/self/exe", Env: append(os.Environ(), ofLinkEnv+"="+link, "DBUS_SYSTEM_BUS_ADDRESS="+busAddress,
		"GORACE=atexit_sleep_ms=0")}
	out := must(t, h.node, self, "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.count=1")
	found := toldResolvers.FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no resolvers in:\n%s", out)
	}
	var servers resolver.Servers
	if err := json.Unmarshal([]byte(found[1]), &servers); err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, s := range servers.List {
		text += s.String() + " "
	}
	return text + "from " + servers.From
}

func (h *managedHost) resolversAre(t *testing.T, when, link, want string) {
	t.Helper()
	got := h.resolvers(t, link)
	// On a busy machine, a service may answer too late once.
	for end := time.Now().Add(patience); got != want && time.Now().Before(end); {
		got = h.resolvers(t, link)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", when, diff)
	}
}
