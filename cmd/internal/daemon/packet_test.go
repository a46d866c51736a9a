package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uclat/platform"
)

const packetTOML = "pref64.prefixes = ['64:ff9b::/96']"

// The addresses that the host of these tests makes, in their order, and that on its second network.
const (
	first  = "2001:db8:1:0:224a:edd4:20be:efdf"
	second = "2001:db8:1:0:b272:832a:a02a:b2ee"
	third  = "2001:db8:1:0:f531:ce06:be27:bc4d"
	fourth = "2001:db8:1:0:7569:8cac:f0c8:543"
	moved  = "2001:db8:2:0:e8cb:d259:7ea1:76e7"
)

// What the transcript says again and again.
const (
	openLink   = "link: open eth0"
	closeLink  = "link: close eth0"
	openTUN4   = "tun: open clat0 mtu 1480"
	packetHost = "host: clat0 mtu 1480 [100.64.46.4/32], route 0.0.0.0/0 src 100.64.46.4 metric 2000000 mtu 1480"
)

func checking(a string) string {
	return fmt.Sprintf(`level=INFO msg="starting: seeing whether %s is free on eth0" code=checking-address`, a)
}

func probing(a string) string {
	return fmt.Sprintf(`level=INFO msg="starting: seeing whether answers come back to %s on eth0" code=probing`, a)
}

func taken(a string) string {
	return fmt.Sprintf(`level=INFO msg="%s is in use on eth0 by 02:00:00:00:00:99"`, a)
}

func onAs(a string) string {
	return fmt.Sprintf(`level=INFO msg="on: IPv4 through eth0, PREF64 64:ff9b::/96 (configured), as %s, path packet" code=on`, a)
}

// movedHost and movedOn are what becomes of it when there is another address for new connections.
const movedHost = "host: clat0 mtu 1480 [100.64.46.6/32 100.64.46.4/32], route 0.0.0.0/0 src 100.64.46.6 metric 2000000 mtu 1480"

var movedOn = flows(onAs(moved), "those of 100.64.46.4 go on through 64:ff9b::/96; new ones are of 100.64.46.6")

// kept is the host whose default route has gone, and whose IPv4 addresses stay.
func kept(last ...int) string {
	text, _, _ := strings.Cut(hostOf(last...), ", route")
	return text
}

// lost is what becomes of the connections of an IPv4 address, by its last octet, when the pair that it went by is gone.
func lost(last int, prefix string) string {
	return fmt.Sprintf("those of 100.64.46.%d through %s are lost", last, prefix)
}

// comesUp is what happens when the address is free and answers come back to it.
func comesUp(a string) []string {
	return []string{openLink, checking(a), probing(a), openTUN4, packetHost, onAs(a)}
}

// goesDown is the end of that.
var goesDown = []string{nothing, closeTUN, stopped, closeLink}

// slaac is a host that has an address by autoconfiguration.
func slaac(s *platform.Snapshot) {
	s.Links[0].Hardware = "02:00:00:00:00:05"
	s.Addrs[0].Autoconf = true
}

// startPacket is a daemon on path packet that is on.
func startPacket(t *testing.T, toml string, host platform.Snapshot) *rig {
	t.Helper()
	r := start(t, toml, host)
	r.after(time.Second)
	if got, want := r.forget(), append(slices.Clone(triedTUN), comesUp(first)...); !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
	return r
}

// The uplink first, and then the TUN: until an address can be used, IPv4 is not on the host. At the end it is the other way round.
func TestPacketPath(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, packetTOML, laptop(slaac))
		r.expect("tun: open clat0 mtu 1280", closeTUN, openLink, checking(first), probing(first))
		r.after(time.Second)
		r.expect(openTUN4, packetHost, onAs(first))
		r.eyes.change(laptop(slaac, withUs4), nil)
		r.after(time.Hour)
		r.expect()
		link := r.lan.current()
		r.lan.set(func(*fakeLAN) { link.lostRead, link.lostWritten = 2, 3 })
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.expect(nothing, closeTUN, stopped+" link-lost-read=2 link-lost-written=3", closeLink)
	})
}

// withUs4 is what the host looks like when the daemon set it up on path packet.
func withUs4(s *platform.Snapshot) {
	withUs(s)
	s.Routes = s.Routes[:len(s.Routes)-1]
}

// Packets go from one device to the other, and what nobody asked for does not come in.
func TestPacketsGoThroughTheLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		tun, link := r.tuns.current(), r.lan.current()
		tun.in <- udp4("100.64.46.4", "198.51.100.5")
		out := <-link.out
		if source(out) != first || destination(out) != "64:ff9b::c633:6405" {
			t.Errorf("% x", out)
		}
		link.in <- answer(out)
		if in := <-tun.out; in[0]>>4 != 4 || netip.AddrFrom4([4]byte(in[12:])).String() != "198.51.100.5" {
			t.Errorf("% x", in)
		}
		stranger := answer(out)
		stranger[43]++ // to another port; its checksum does not matter
		link.in <- stranger
		synctest.Wait()
		if len(tun.out) > 0 {
			t.Errorf("came in: % x", <-tun.out)
		}
		r.reload("inbound = 'all'\n" + packetTOML)
		r.expect(reloaded + `inbound"`)
		link.in <- stranger
		<-tun.out
		r.reload(packetTOML)
		r.expect(reloaded + `inbound"`)
		link.in <- stranger
		synctest.Wait()
		if len(tun.out) > 0 {
			t.Errorf("came in: % x", <-tun.out)
		}
		_ = r.stop()
		r.expect(nothing, closeTUN, strings.NewReplacer("46=0 bytes-46=0", "46=1 bytes-46=28", "64=0 bytes-64=0", "64=2 bytes-64=96").Replace(stopped)+
			" drop-64-inbound=2", closeLink)
	})
}

// On path kernel that is for the kernel to say.
func TestKernelSaysWhatComesIn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		stranger := answer(r.send(udp4("100.64.46.4", "198.51.100.5")))
		stranger[43]++
		if in := r.send(stranger); in[0]>>4 != 4 {
			t.Errorf("% x", in)
		}
		_ = r.stop()
	})
}

// answer is an IPv6 datagram that comes back for p.
func answer(p []byte) []byte {
	return slices.Concat(p[:8], p[24:40], p[8:24], p[42:44], p[40:42], p[44:])
}
