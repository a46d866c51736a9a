package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"uclat/test/peers"
)

// What the log says about a configuration that was read again.
const (
	reloaded  = `level=INFO msg="configuration reloaded: `
	unchanged = reloaded + `nothing changed"`
	refused   = `level=ERROR msg="configuration not reloaded, the old one stays: `
)

// The router as an IPv4 host, for who maps it.
var (
	router4   = netip.MustParseAddr("192.0.2.9")
	mapRouter = fmt.Sprintf("[[map]]\nipv4 = '%s'\nipv6 = '%s'\n", router4, routerLAN.Addr())
)

// TestReload changes the configuration of the running program again and again, in the midst of traffic, of which not one packet is lost.
func TestReload(t *testing.T) { eachPath(t, testReload) }

func testReload(t *testing.T, top *topology) {
	before := dump(t, top.laptop)
	settings := top.settings()
	file := config(t, "uclat.toml", settings)
	p := top.up(t, "--config", file)
	s := top.startStream(t, server4)
	running := dump(t, top.laptop)

	t.Run("a mapped host is there, and gone again", func(t *testing.T) {
		ping := []string{"-c", "1", "-W", "1", router4.String()}
		if r := try(t, top.laptop, peers.Find(t, "ping"), ping...); r.code == 0 {
			t.Fatal("it is there without a mapping")
		}
		p.reload(t, file, settings+mapRouter, reloaded+`map"`)
		eventually(t, "it is there", func() bool { return try(t, top.laptop, peers.Find(t, "ping"), ping...).code == 0 })
		p.reload(t, file, settings, reloaded+`map"`)
		eventually(t, "it is gone", func() bool { return try(t, top.laptop, peers.Find(t, "ping"), ping...).code != 0 })
		top.unchanged(t, running)
	})
	t.Run("a bad file changes nothing", func(t *testing.T) {
		p.reload(t, file, "mode = 'maybe'\nuplink = eth0\n"+mapRouter, refused+file+":2: is not TOML: ")
		p.reload(t, file, settings+strings.Replace(mapRouter, routerLAN.Addr().String(), "nonsense", 1), refused+file+`:7: map.ipv6: \"nonsense\"`)
		p.reload(t, file, strings.Replace(settings, top.addr6, top.laptopAddr.String(), 1), refused+"off: address.ipv6 = ")
		noUplink := strings.Replace(settings, "uplink = 'eth0'\n", "", 1)
		p.reload(t, file, noUplink+"uplink = 'eth7'\n", refused+"waiting: there is no interface eth7 (uplink)")
		p.reload(t, file, noUplink+"interface.name = 'eth0'\n", refused+"TUN device eth0: create it: device or resource busy: ")
		p.reload(t, file, noUplink+"interface.name = 'another0'\nuplink = 'eth7'\n", refused+"waiting: there is no interface eth7 (uplink)")
		eventually(t, "all is as it was", func() bool { return dump(t, top.laptop) == running }) // also the device
	})
	t.Run("mappings come and go", func(t *testing.T) {
		others := []string{"translate.clamp-mss = true\n", "interface.metric = 4646\n", "translate.ttl-transparent = true\n", ""}
		for i := range 40 {
			// Not inbound: while all may come in, the kernel remembers nothing of what went out, and replies to it are lost when that counts.
			text, mapped := settings+others[i%len(others)], i%2 == 0
			if mapped {
				text += mapRouter
			}
			p.reload(t, file, text, reloaded) // all are answered: the log has no bound for what was asked for
			eventually(t, fmt.Sprintf("round %d: the configuration is in force", i), func() bool {
				r := try(t, top.laptop, peers.Find(t, "ping"), "-c", "1", "-W", "0.1", router4.String())
				return (r.code == 0) == mapped
			})
			s.goesOn(t)
		}
		p.write(t, file, settings+mapRouter)
		for range 100 { // as fast as they can be sent
			p.hangUp(t)
		}
		p.write(t, file, settings)
		p.hangUp(t)
		eventually(t, "the last one counts", func() bool { return dump(t, top.laptop) == running })
	})
	if sent, lost := s.end(t); lost > 0 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
	down(t, p, syscall.SIGTERM)
	p.wait(t, `msg="stopped translating" packets-46=`)
	top.unchanged(t, before)
}

// TestReloadClients has a client behind the laptop get an address and lose it, while another one notices nothing.
func TestReloadClients(t *testing.T) {
	t.Parallel()
	top := newTopology(t)
	client := top.addClient(t)
	const text = "interface.ipv4 = '100.64.0.0/10'\naddress.ipv6 = '2001:db8:c1a7::/64'\npref64.prefixes = ['2001:db8:64::/96']\n"
	const mapClient = "[[map]]\nipv4 = '192.0.2.7'\nipv6 = '2001:db8:c1a7::7'\n"
	before := dump(t, top.laptop)
	file := config(t, "uclat.toml", text)
	p := top.up(t, "--config", file)
	other := start(t, client, peers.Find(t, "ping"), "-i", "0.01", "-I", "100.64.7.9", server4.String())
	other.wait(t, "icmp_seq=1 ")
	reached := func() bool {
		return try(t, client, peers.Find(t, "ping"), "-c", "1", "-W", "1", "-I", "192.0.2.7", server4.String()).code == 0
	}
	for range 2 {
		if reached() {
			t.Error("it gets through without an address")
		}
		p.reload(t, file, text+mapClient, reloaded+`map"`)
		eventually(t, "it gets through", reached)
		p.reload(t, file, text, reloaded+`map"`)
		eventually(t, "it gets through no more", func() bool { return !reached() })
	}
	// The one that is on its way when ping ends may come too late.
	if other.stop(t, syscall.SIGINT); !strings.Contains(other.said(), " 0% packet loss") && !oneMissing(other.said()) {
		t.Errorf("the other client: %s", other.said())
	}
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}

// TestReloadOthers is about everything else that is not told by a mapping.
func TestReloadOthers(t *testing.T) { eachPath(t, testReloadOthers) }

func testReloadOthers(t *testing.T, top *topology) {
	before := dump(t, top.laptop)
	settings := top.settings()

	t.Run("while it waits for a PREF64", func(t *testing.T) {
		top.resolver(t, nobody)
		text := top.least
		file := config(t, "uclat.toml", text)
		p := top.startUclat(t, "--config", file)
		p.wait(t, "waiting: no PREF64")
		p.reload(t, file, "mode = 'maybe'\n"+text, refused)
		named := text + fmt.Sprintf("pref64.prefixes = ['%s']\n", pref64)
		p.reload(t, file, named, reloaded+`pref64.prefixes"`)
		p.wait(t, `msg="on: IPv4 through eth0, PREF64 2001:db8:64::/96 (configured)`)
		top.ping4(t)

		// Another one, by the network, and no one.
		top.resolver(t, routerLAN.Addr().String())
		p.reload(t, file, text, reloaded+`pref64.prefixes"`)
		p.wait(t, `msg="on: IPv4 through eth0, PREF64 2001:db8:64::/96 (from resolver 2001:db8:1::1 by RFC 7050)`)
		top.ping4(t)
		p.reload(t, file, "mode = 'off'\n"+text, reloaded+`mode"`)
		eventually(t, "the laptop is as it was", func() bool { return dump(t, top.laptop) == before })
		down(t, p, syscall.SIGTERM)
	})
	t.Run("another interface name", func(t *testing.T) {
		file := config(t, "uclat.toml", settings)
		p := top.up(t, "--config", file)
		running := dump(t, top.laptop)
		p.reload(t, file, settings+"interface.name = 'another0'\n", reloaded+`interface.name"`)
		eventually(t, "all is the same but the name", func() bool {
			return withoutRules(strings.ReplaceAll(dump(t, top.laptop), "another0", tunDev)) == withoutRules(running)
		})
		top.ping4(t)
		p.reload(t, file, settings+"interface.name = 'eth0'\n", refused)
		p.reload(t, file, settings, reloaded+`interface.name"`)
		eventually(t, "all is the same", func() bool { return dump(t, top.laptop) == running })
		top.ping4(t)
		down(t, p, syscall.SIGTERM)
		top.unchanged(t, before)
	})
	t.Run("a file that is gone", func(t *testing.T) {
		file := config(t, "uclat.toml", settings)
		p := top.up(t, "--config", file)
		running := dump(t, top.laptop)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		p.hangUp(t)
		p.wait(t, refused+file+": no such file or directory")
		top.unchanged(t, running)
		top.ping4(t)
		p.reload(t, file, settings, unchanged)
		down(t, p, syscall.SIGTERM)
	})
	t.Run("flags only, and a file that may be missing", func(t *testing.T) {
		p := top.up(t, top.configured("--translate.clamp-mss")...)
		p.hangUp(t)
		p.wait(t, unchanged)
		if err := top.laptop.WriteFile("/etc/uclat/uclat.toml", []byte("inbound = 'all'\ntranslate.clamp-mss = false\n")); err != nil {
			t.Fatal(err)
		}
		p.hangUp(t)
		p.wait(t, reloaded+`inbound"`) // a flag wins over the file, now as at the start
		top.ping4(t)
		// Once it was there, it does not go by mistake.
		running := dump(t, top.laptop)
		if err := os.Remove(fmt.Sprintf("/proc/%d/root/etc/uclat/uclat.toml", top.laptop.PID())); err != nil {
			t.Fatal(err)
		}
		p.hangUp(t)
		p.wait(t, refused+"/etc/uclat/uclat.toml: no such file or directory")
		top.unchanged(t, running)
		down(t, p, syscall.SIGTERM)
	})
	top.unchanged(t, before)
}

// hangUp sends SIGHUP.
func (p *process) hangUp(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
}

// write replaces a file at once, so that the program never reads half of it.
func (p *process) write(t *testing.T, file, text string) {
	t.Helper()
	next := filepath.Join(t.TempDir(), "next")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

// reload gives the program another configuration, and waits until it says so once more.
func (p *process) reload(t *testing.T, file, text, want string) {
	t.Helper()
	said := strings.Count(p.said(), want)
	p.write(t, file, text)
	p.hangUp(t)
	eventually(t, "it says "+want, func() bool { return strings.Count(p.said(), want) > said })
}

// withoutRules is a dump in order, and without the rules of nftables, in which names are not to be read.
func withoutRules(dump string) string {
	lines := slices.DeleteFunc(strings.Split(dump, "\n"), func(s string) bool { return strings.HasPrefix(s, "nft rule ") })
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// oneMissing says whether ping has got an answer to all but one.
func oneMissing(said string) bool {
	var sent, received int
	for line := range strings.Lines(said) {
		if n, _ := fmt.Sscanf(line, "%d packets transmitted, %d received", &sent, &received); n == 2 {
			return sent-received <= 1
		}
	}
	return false
}
