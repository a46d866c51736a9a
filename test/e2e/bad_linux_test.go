package e2e

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// codeUsage is the exit code of wrong use, and of a configuration or a host that cannot work until somebody changes it.
const codeUsage = 2

// TestBadInput holds `run` to one clear line (what, where, why, what to do) and exit code 2 at once, with nothing changed.
func TestBadInput(t *testing.T) {
	t.Parallel()
	top := newTopology(t)
	for _, c := range []struct {
		name  string
		flags []string
		file  string // uclat.toml, where it has text
		want  string
	}{
		{"prefix of length 95", []string{"--pref64.prefixes", "2001:db8::/95"}, "",
			"--pref64.prefixes: \"2001:db8::/95\": length 95 is not one of 32, 40, 48, 56, 64, 96 (RFC 6052, 2.2)"},
		{"prefix with the u-octet set", []string{"--pref64.prefixes", "2001:db8:0:0:ff00::/96"}, "",
			"--pref64.prefixes: \"2001:db8:0:0:ff00::/96\": bits 64 to 71 are not zero (RFC 6052, 2.2)"},
		{"well-known prefix with another length", []string{"--pref64.prefixes", "64:ff9b::/64"}, "",
			"--pref64.prefixes: \"64:ff9b::/64\": the well-known prefix exists as 64:ff9b::/96 only (RFC 6052, 2.1)"},
		{"unknown key", nil, "mode = \"force\"\ninterface.nmae = \"clat0\"\n",
			"uclat.toml:2: interface.nmae: unknown key: did you mean interface.name?"},
		{"wrong type", nil, "[interface]\nmtu = \"1400\"\n",
			"uclat.toml:2: interface.mtu: \"1400\": is a string, not an integer: write a number without quotes"},
		{"no TOML", nil, "uplink = eth0\n", "uclat.toml:1: is not TOML:"},
		{"unknown flag", []string{"--pref64.prefix", "64:ff9b::/96"}, "", "unknown flag: --pref64.prefix"},
		{"one address for many clients", []string{"--interface.ipv4", "100.64.0.0/10"}, "", "one address cannot stand for many"},
		{"a log level that is none", []string{"--log-level", "loud"}, "", `--log-level: "loud" is not one of debug, info, warn, error`},
	} {
		t.Run(c.name, func(t *testing.T) {
			flags := top.configured(c.flags...)
			if c.file != "" {
				flags = append(flags, "--config", config(t, "uclat.toml", c.file))
			}
			top.refused(t, "run", flags, c.want)
			if !strings.HasPrefix(c.name, "a log") { // that only `run` has
				top.refused(t, "check", flags, c.want)
			}
		})
	}
	t.Run("a file that is not there", func(t *testing.T) {
		top.refused(t, "run", top.configured("--config", "/etc/uclat/none.toml"), "/etc/uclat/none.toml: no such file")
	})
	t.Run("a word too many", func(t *testing.T) {
		top.refused(t, "run", top.configured("now"), `"now" is one word too many`)
	})
	t.Run("address.ipv6 missing", func(t *testing.T) {
		const want = "address.ipv6 is not set: path kernel needs an IPv6 address or prefix that is routed to this host"
		for _, command := range []string{"run", "check"} {
			top.refused(t, command, []string{"--path", "kernel", "--pref64.prefixes", pref64.String()}, want)
		}
	})
}

// TestBadHost is TestBadInput where the host is what does not do.
func TestBadHost(t *testing.T) { eachPath(t, testBadHost) }

func testBadHost(t *testing.T, top *topology) {
	ip := peers.Find(t, "ip")
	t.Run("not root", func(t *testing.T) {
		before := dump(t, top.laptop)
		p := uclat(t)
		r := try(t, top.laptop, peers.Program{Path: peers.Find(t, "setpriv").Path, Env: p.Env},
			append([]string{"--reuid", "65534", "--regid", "65534", "--clear-groups", p.Path, "run"}, top.configured()...)...)
		checkRefused(t, r, "run as root")
		top.unchanged(t, before)
	})
	for _, kind := range []string{"link add clat0 type veth peer other", "tuntap add dev clat0 mode tun"} {
		t.Run("name taken: "+kind, func(t *testing.T) {
			must(t, top.laptop, ip, strings.Fields(kind)...)
			for _, command := range []string{"run", "check"} {
				top.refused(t, command, top.configured(), "clat0", "exists already", "choose another name")
			}
			must(t, top.laptop, ip, "link", "delete", tunDev)
		})
	}
	t.Run("name taken: by the program itself", func(t *testing.T) {
		p := top.up(t, top.configured()...)
		top.refused(t, "run", top.configured(), "/var/lib/uclat", "held by process", "--state-dir")
		top.refused(t, "run", top.configured("--state-dir", "/run/second"), "clat0", "exists already", "choose another name")
		top.ping4(t) // by the first one
		down(t, p, syscall.SIGTERM)
	})
	t.Run("name taken, and no PREF64 yet", func(t *testing.T) {
		top.resolver(t, nobody)
		must(t, top.laptop, ip, "link", "add", tunDev, "type", "veth", "peer", "other")
		top.refused(t, "run", top.discovering(), "clat0", "exists already")
		must(t, top.laptop, ip, "link", "delete", tunDev)
		top.resolver(t, routerLAN.Addr().String())
	})
	t.Run("100.64.0.0/10 on the uplink", func(t *testing.T) {
		addr := netip.MustParsePrefix("100.64.1.1/10")
		if err := top.laptop.AddAddr("eth0", addr); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"run", "check"} {
			top.refused(t, command, top.configured(), "interface.ipv4 = 100.64.46.4 overlaps with 100.64.1.1/10 on eth0",
				"choose another, such as 192.0.0.2")
		}
		if err := top.laptop.DelAddr("eth0", addr); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("100.64.0.0/10 by tailscale0", func(t *testing.T) {
		must(t, top.laptop, ip, "link", "add", "tailscale0", "type", "veth", "peer", "other")
		for _, dev := range []string{"tailscale0", "other"} {
			must(t, top.laptop, ip, "link", "set", dev, "addrgenmode", "none") // an address would be checked for a while, and change the state
			if err := top.laptop.SetUp(dev, true); err != nil {
				t.Fatal(err)
			}
		}
		for _, dev := range []string{"tailscale0", "other"} { // the kernel does the rest when it gets to it
			eventually(t, dev+" is up", func() bool {
				return strings.Contains(must(t, top.laptop, ip, "link", "show", dev), "state UP") &&
					strings.Contains(must(t, top.laptop, ip, "-6", "route", "show", "table", "local", "dev", dev), "ff00::/8")
			})
		}
		if err := top.laptop.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("100.64.0.0/10"), Dev: "tailscale0"}); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"run", "check"} {
			top.refused(t, command, top.configured(), "interface.ipv4 = 100.64.46.4 overlaps with the route 100.64.0.0/10 by tailscale0")
		}
		// What the line says to do helps.
		before := dump(t, top.laptop)
		p := top.up(t, top.configured("--interface.ipv4", "192.0.0.2", "--interface.self-ipv4", "192.0.0.3")...)
		top.ping4(t)
		down(t, p, syscall.SIGTERM)
		top.unchanged(t, before)
		must(t, top.laptop, ip, "link", "delete", "tailscale0")
	})
	t.Run("address.ipv6 is an interface's", func(t *testing.T) {
		must(t, top.laptop, ip, "address", "add", top.addr6+"/128", "dev", "eth0", "nodad")
		eventually(t, top.addr6+" is there", func() bool {
			return strings.Contains(must(t, top.laptop, ip, "-6", "route", "show", "table", "local", "dev", "eth0"), top.addr6)
		})
		for _, command := range []string{"run", "check"} {
			top.refused(t, command, top.configured(), "address.ipv6 = "+top.addr6, "which eth0 has already: choose ")
		}
		must(t, top.laptop, ip, "address", "delete", top.addr6+"/128", "dev", "eth0")
	})
	t.Run("no TUN device", func(t *testing.T) {
		top.hide(t, "/dev/net/tun")
		top.refused(t, "run", top.configured(), "/dev/net/tun", "modprobe tun")
	})
}

// refused runs a command that must end with 2, one line, and no change.
func (top *topology) refused(t *testing.T, command string, flags []string, want ...string) {
	t.Helper()
	before := dump(t, top.laptop)
	checkRefused(t, try(t, top.laptop, uclat(t), append([]string{command}, flags...)...), want...)
	top.unchanged(t, before)
}

func checkRefused(t *testing.T, r result, want ...string) {
	t.Helper()
	line := strings.TrimPrefix(strings.TrimSuffix(r.stderr, "\n"), "uclat: ")
	if r.code != codeUsage || "uclat: "+line+"\n" != r.stderr || line == "" || strings.Contains(line, "\n") {
		t.Errorf("exit code %d, and not one line:\n%s%s", r.code, r.stdout, r.stderr)
	}
	for _, w := range want {
		if !strings.Contains(line, w) {
			t.Errorf("%q is not in: %s", w, line)
		}
	}
}
