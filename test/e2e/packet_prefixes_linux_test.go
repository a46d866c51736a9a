package e2e

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestPacketLabel has ULA and GUA on the link: the address is of the kind that the PREF64 is.
func TestPacketLabel(t *testing.T) {
	t.Parallel()
	says := ordinary(lasting(ulaPrefix), lasting(lanPrefix))
	top := newNetwork(t, network{path: onPacket, says: &says})
	top.addPrefixes(t)
	if _, err := top.laptop.WaitAddr(t.Context(), "eth0", ulaPrefix); err != nil {
		t.Fatal(err)
	}
	// Behind the other PREF64, the PLAT answers for the server itself.
	local, serverLocal := netip.MustParsePrefix("fd00:db8:64::/96"), netip.MustParseAddr("fd00:db8:64::c633:640a")
	if err := top.router.AddRoute(netlab.Route{Dst: local, Via: platLAN.Addr()}); err != nil {
		t.Fatal(err)
	}
	if err := top.plat.AddAddr("lo", host(serverLocal)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		pref64 netip.Prefix
		server netip.Addr
		want   netip.Prefix
	}{{"a global PREF64", pref64, server6, lanPrefix}, {"a local PREF64", local, serverLocal, ulaPrefix}} {
		t.Run(c.name, func(t *testing.T) {
			p := top.up(t, "--pref64.prefixes", c.pref64.String())
			if addr := p.addr6(t); !c.want.Contains(addr) {
				t.Errorf("it takes %s, want one of %s", addr, c.want)
			}
			seen := startCapture(t, top.laptop, "eth0", "icmp6 and ip6[40] == 128 and dst host "+c.server.String())
			top.ping4(t)
			for _, f := range seen.frames(t) {
				if got := source6(f); got != p.addr6(t).String() {
					t.Errorf("a packet is from %s", got)
				}
			}
			down(t, p, syscall.SIGTERM)
		})
	}
}

// TestPacketAnnouncedLater has a network that gives one address only, which after a while announces a prefix for autoconfiguration. Before
// that the program is off altogether.
func TestPacketAnnouncedLater(t *testing.T) {
	t.Parallel()
	closed := lasting(lanPrefix)
	closed.notAuto = true
	says := ordinary(closed)
	top := newNetwork(t, network{path: onPacket, lan: bridge, says: &says})
	top.giveAddress(t, host(oneAddress))
	before, groups := dump(t, top.laptop), top.groups(t)
	sent := startCapture(t, top.bridge, "laptop0", "icmp6 and ip6[40] == 135 and ip6 src host ::")
	p := top.startUclat(t)
	p.wait(t, `msg="off: this network gives one address only: eth0 has `+oneAddress.String()+"/128")
	top.unchanged(t, before)
	if now := top.groups(t); now != groups {
		t.Errorf("groups of eth0 were\n%s\nand are\n%s", groups, now)
	}
	// A heading is all that is there without a packet socket.
	if open := must(t, top.laptop, peers.Find(t, "cat"), "/proc/net/packet"); strings.Count(open, "\n") != 1 {
		t.Errorf("it listens to the link:\n%s", open)
	}
	if n := len(sent.frames(t)); n > 0 {
		t.Errorf("it asked %d times for an address", n)
	}

	top.radvd.say(t, ordinary(lasting(lanPrefix)))
	p.wait(t, `msg="on: IPv4 through eth0`)
	if addr := p.addr6(t); !lanPrefix.Contains(addr) || addr == oneAddress {
		t.Errorf("it takes %s", addr)
	}
	top.ping4(t)
	down(t, p, syscall.SIGTERM)
	if top.has(tunDev) {
		t.Errorf("%s is left", tunDev)
	}
}

// groups are the multicast groups that the laptop's uplink is in, however often.
func (top *topology) groups(t *testing.T) string {
	t.Helper()
	out := must(t, top.laptop, peers.Find(t, "ip"), "-6", "maddress", "show", "dev", top.uplink)
	return regexp.MustCompile(` users \d+|\s+$`).ReplaceAllString(out, "")
}

// TestPacketPrefixReplaced has a prefix grow old and end while another one is there. The other one is in use before the end, and hardly
// anything is lost of what goes on all the time.
func TestPacketPrefixReplaced(t *testing.T) {
	t.Parallel()
	const preferred, valid = 6, 10
	says := ordinary(advertisedPrefix{Prefix: lanPrefix, preferred: preferred, valid: valid})
	top := newNetwork(t, network{path: onPacket, says: &says})
	top.addPrefixes(t)
	p := top.up(t)
	first := p.addr6(t)
	top.endlessDownload(t) // which ends with the address: the PLAT knows it by that
	pings := start(t, top.laptop, peers.Find(t, "ping"), "-i", "0.05", server4.String())

	top.radvd.say(t, ordinary(lasting(otherPrefix)))
	eventually(t, "it takes an address of the other prefix", func() bool { return otherPrefix.Contains(p.addr6(t)) })
	eventually(t, "the old prefix is gone", func() bool {
		addrs, err := top.laptop.Addrs("eth0")
		return err == nil && !slices.ContainsFunc(addrs, func(a netip.Prefix) bool { return lanPrefix.Contains(a.Addr()) })
	})
	gone := time.Now() // for the kernel, which counts whole seconds, and from another moment on
	old := startCapture(t, top.laptop, "eth0", "ip6 src host "+first.String())
	top.curlBothWays(t, 1_000_000)
	eventually(t, "a while has passed", func() bool { return time.Since(gone) > 2*soon })
	pings.stop(t, syscall.SIGINT)
	if sent, received := pingTotals(t, pings.said()); sent < 20 || sent-received > sent/20 {
		t.Errorf("%d of %d pings were answered", received, sent)
	}
	if late := slices.DeleteFunc(old.records(t), func(r record) bool { return r.at.Before(gone.Add(soon)) }); len(late) > 0 {
		t.Errorf("%d packets have the old address still", len(late))
	}
	if n := strings.Count(p.said(), `msg="on: `); n != 2 {
		t.Errorf("it came on %d times, want once with each prefix", n)
	}
	for _, not := range []string{`msg="waiting: `, `msg="off: `, "stopped translating"} {
		if strings.Contains(p.said(), not) {
			t.Errorf("it said %s", not)
		}
	}
	down(t, p, syscall.SIGTERM)
}

// TestPacketPrefixWithdrawn has the router take a prefix back, with lifetimes of zero, which shorten that of an address to two hours
// (RFC 4862, 5.5.3). Where there is nothing better the address is used on, and else given up at once.
func TestPacketPrefixWithdrawn(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	top.addPrefixes(t)
	p := top.up(t)
	first := p.addr6(t)
	withdrawn := advertisedPrefix{Prefix: lanPrefix}
	top.radvd.say(t, ordinary(withdrawn))
	ip := peers.Find(t, "ip")
	eventually(t, "the laptop's own address is deprecated", func() bool {
		return strings.Contains(must(t, top.laptop, ip, "-6", "address", "show", "dev", "eth0", "to", top.laptopAddr.String()), " deprecated ")
	})
	top.ping4(t)
	top.radvd.say(t, ordinary(withdrawn, lasting(otherPrefix)))
	eventually(t, "it takes an address of the other prefix", func() bool { return otherPrefix.Contains(p.addr6(t)) })
	top.ping4(t)
	if on := asAddress.FindAllStringSubmatch(p.said(), -1); len(on) != 2 || on[0][1] != first.String() {
		t.Errorf("it was on as %q, want %s and then one of %s", on, first, otherPrefix)
	}
	for _, not := range []string{`msg="waiting: `, `msg="off: `, "stopped translating"} {
		if strings.Contains(p.said(), not) {
			t.Errorf("it said %s", not)
		}
	}
	down(t, p, syscall.SIGTERM)
}

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// pingTotals are the numbers at the end of what ping says.
func pingTotals(t *testing.T, said string) (sent, received int) {
	t.Helper()
	m := pingSummary.FindStringSubmatch(said)
	if m == nil {
		t.Fatalf("ping says\n%s", said)
	}
	sent, _ = strconv.Atoi(m[1]) // digits, both
	received, _ = strconv.Atoi(m[2])
	return sent, received
}
