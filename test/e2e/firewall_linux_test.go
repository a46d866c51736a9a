package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// elsewhere is an address that the router believes to be behind the laptop, though nobody has it.
var elsewhere = netip.MustParsePrefix("2001:db8:f0e::1/128")

// TestForeignTraffic shows that the laptop forwards nothing for others because of us. What it would forward without our table, the first
// part shows with the same switches set by hand.
func TestForeignTraffic(t *testing.T) {
	t.Parallel()
	top := newTopology(t)
	if err := top.router.AddRoute(netlab.Route{Dst: elsewhere, Via: top.laptopLL(t), Dev: "lan0"}); err != nil {
		t.Fatal(err)
	}
	if in, out := top.sendThrough(t); in == 0 || out != 0 {
		t.Fatalf("laptop that forwards nothing: %d in, %d out", in, out)
	}
	top.setSysctl(t, acceptRAEth0, "2")
	top.setSysctl(t, allForwarding, "1")
	if in, out := top.sendThrough(t); in == 0 || out != in {
		t.Fatalf("laptop that forwards: %d in, %d out", in, out)
	}
	t.Run("a host that forwards already goes on to", func(t *testing.T) {
		p := top.up(t, top.configured()...)
		if in, out := top.sendThrough(t); in == 0 || out != in {
			t.Errorf("%d in, %d out", in, out)
		}
		top.onlyFromPREF64(t)
		down(t, p, syscall.SIGTERM)
	})
	top.setSysctl(t, allForwarding, "0")
	top.setSysctl(t, acceptRAEth0, "1")
	closed := func(t *testing.T) {
		p := top.up(t, top.configured()...)
		if in, out := top.sendThrough(t); in == 0 || out != 0 {
			t.Errorf("%d in, %d out", in, out)
		}
		top.onlyFromPREF64(t)
		down(t, p, syscall.SIGTERM)
	}
	t.Run("uplink to uplink", closed)
	top.withoutForceForwarding(t)
	t.Run("uplink to uplink, without force_forwarding", closed)
}

// laptopLL is the laptop's link-local address, by which its router reaches it.
func (top *topology) laptopLL(t *testing.T) netip.Addr {
	t.Helper()
	addr, err := top.laptop.WaitAddr(t.Context(), "eth0", netip.MustParsePrefix("fe80::/10"))
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// sendThrough has the router send packets that are for nobody behind the laptop, and counts those that came in and those that went out
// there again.
func (top *topology) sendThrough(t *testing.T) (in, out int) {
	t.Helper()
	mac, err := top.laptop.HardwareAddr("eth0")
	if err != nil {
		t.Fatal(err)
	}
	seen := startCapture(t, top.laptop, "eth0", "ip6 dst host "+elsewhere.Addr().String())
	// A hop limit that the laptop leaves at 1, so that the router does not send them back to it again.
	r := try(t, top.router, peers.Find(t, "ping"), "-c", "3", "-i", "0.05", "-W", "0.2", "-t", "2", elsewhere.Addr().String())
	if r.code == 0 {
		t.Fatalf("somebody answered: %+v", r)
	}
	for _, f := range seen.frames(t) {
		if [6]byte(f[6:12]) == [6]byte(mac) {
			out++
		} else {
			in++
		}
	}
	return in, out
}

// onlyFromPREF64 shows that packets to the CLAT's address reach the translator only if they come from the PLAT.
func (top *topology) onlyFromPREF64(t *testing.T) {
	t.Helper()
	const to = "ip6 dst host " + clat46
	arrived, passed := startCapture(t, top.laptop, "eth0", to), startCapture(t, top.laptop, tunDev, to)
	if r := try(t, top.router, peers.Find(t, "ping"), "-c", "3", "-i", "0.05", "-W", "0.2", clat46); r.code == 0 {
		t.Errorf("the translator answered the router: %+v", r)
	}
	top.ping4(t)
	// An error that a router sends comes from anywhere, and passes: it is how the path MTU and the way are learned.
	must(t, top.laptop, peers.Find(t, "traceroute"), "-4", "-n", "-q", "1", "-N", "1", "-f", "2", "-m", "2", "-w", "2", server4.String())
	foreign := 0
	for _, f := range arrived.frames(t) {
		if source6(f) != server6.String() && f[54] >= 128 { // an ICMPv6 message that is no error
			foreign++
		}
	}
	if foreign < 3 {
		t.Errorf("only %d packets from elsewhere arrived at the laptop", foreign)
	}
	answers, errors := 0, 0
	for _, f := range passed.frames(t) {
		switch src := netip.AddrFrom16([16]byte(f[8:24])); {
		case src == server6:
			answers++
		case f[40] < 128:
			errors++
		default:
			t.Errorf("a packet from %s reached the translator", src)
		}
	}
	if answers != 3 || errors != 1 {
		t.Errorf("%d answers and %d errors reached the translator, want 3 and 1", answers, errors)
	}
}

// TestOtherFirewall shows that a firewall in the way is named, and that what is printed makes IPv4 work when it is copied into a shell.
func TestOtherFirewall(t *testing.T) {
	t.Parallel()
	top := newTopology(t)
	nft := peers.Find(t, "nft")
	bin := iptablesByNFT(t, nft)
	const hook = "type filter hook forward priority 0; policy drop\n"
	for _, c := range []struct{ name, rules, where, command string }{
		{
			"nftables", "table inet mine {\nchain forward {\n" + hook + "}\n}", "inet mine forward",
			`nft insert rule inet mine forward iifname \"clat0\" oifname \"eth0\" accept && ` +
				`nft insert rule inet mine forward iifname \"eth0\" oifname \"clat0\" accept`,
		},
		{
			"ip6tables", "table ip6 filter {\nchain FORWARD {\n" + hook + "}\n}", "ip6 filter FORWARD",
			"ip6tables -I FORWARD -i clat0 -o eth0 -j ACCEPT && ip6tables -I FORWARD -i eth0 -o clat0 -j ACCEPT",
		},
		{
			"Docker", "table ip6 filter {\nchain DOCKER-USER {\n}\nchain FORWARD {\n" + hook + "jump DOCKER-USER\n}\n}", "ip6 filter FORWARD",
			"ip6tables -I DOCKER-USER -i clat0 -o eth0 -j ACCEPT && ip6tables -I DOCKER-USER -i eth0 -o clat0 -j ACCEPT",
		},
		{
			"ufw",
			"table ip6 filter {\nchain ufw6-user-forward {\n}\nchain FORWARD {\n" + hook + "jump ufw6-user-forward\n}\n}",
			"ip6 filter FORWARD",
			"ufw route allow in on clat0 out on eth0 && ufw route allow in on eth0 out on clat0",
		},
		{
			"firewalld",
			"table inet firewalld {\nchain filter_FORWARD {\ntype filter hook forward priority 10\nreject\n}\n}",
			"inet firewalld filter_FORWARD",
			"firewall-cmd --zone=trusted --change-interface=clat0",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := tryInput(t, top.laptop, "flush ruleset\n"+c.rules+"\n", nft, "-f", "-"); r.code != 0 {
				t.Fatal(r.stderr)
			}
			p := top.up(t, top.configured()...)
			p.wait(t, "to let IPv4 pass, run: ")
			_, line, found := strings.Cut(p.said(), `msg="`+c.name+" ("+c.where+") ")
			line, _, _ = strings.Cut(line, "\n")
			_, command, _ := strings.Cut(strings.TrimSuffix(line, `"`), "run: ")
			if !found || command != c.command {
				t.Fatalf("printed is %q\nwant       %q", command, c.command)
			}
			ping := []string{"-c", "1", "-W", "0.3", server4.String()}
			if r := try(t, top.laptop, peers.Find(t, "ping"), ping...); r.code == 0 {
				t.Fatal("IPv4 works through a firewall that drops everything")
			}
			if program, _, _ := strings.Cut(command, " "); program == "nft" || program == "ip6tables" {
				sh := peers.Program{Path: "/bin/sh", Env: append(nft.Env, "PATH="+bin)}
				must(t, top.laptop, sh, "-c", command)
				must(t, top.laptop, peers.Find(t, "ping"), ping...)
			}
			down(t, p, syscall.SIGTERM)
		})
	}
	t.Run("none", func(t *testing.T) {
		must(t, top.laptop, nft, "flush", "ruleset")
		p := top.up(t, top.configured()...)
		top.ping4(t)
		down(t, p, syscall.SIGTERM)
		if strings.Contains(p.said(), "level=WARN") {
			t.Errorf("a warning without a reason")
		}
	})
}

// iptablesByNFT makes a folder with nft and with an ip6tables that knows the one command that is printed.
func iptablesByNFT(t *testing.T, nft peers.Program) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(nft.Path, filepath.Join(dir, "nft")); err != nil {
		t.Fatal(err)
	}
	script := `#!/bin/sh
[ "$#: $1 $3 $5 $7 $8" = "8: -I -i -o -j ACCEPT" ] || exit 2
exec nft insert rule ip6 filter "$2" iifname "$4" oifname "$6" accept
`
	if err := os.WriteFile(filepath.Join(dir, "ip6tables"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s:%s", dir, os.Getenv("PATH"))
}
