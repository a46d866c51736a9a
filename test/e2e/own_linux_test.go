package e2e

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
)

// soon is how long anything may take that takes a few milliseconds.
const soon = 2 * time.Second

var (
	self4   = netip.MustParseAddr("100.64.46.4") // the laptop's IPv4 address
	errors4 = netip.MustParseAddr(translator)
)

// TestOwnErrors has the program send ICMP errors of its own, and the laptop's kernel believe them.
func TestOwnErrors(t *testing.T) { eachPath(t, testOwnErrors) }

func testOwnErrors(t *testing.T, top *topology) {
	p := top.up(t, top.configured()...)
	echo := netip.AddrPortFrom(server4, portEcho)

	// The IPv4 default route knows what the translator takes, so the kernel sends nothing larger. This one promises what the device takes,
	// which on path kernel is more.
	if err := top.laptop.AddRoute(netlab.Route{Dst: host(server4), Dev: tunDev}); err != nil {
		t.Fatal(err)
	}
	const headers = 20 + 8 // IPv4, UDP
	fragmentationNeeded := func(mtu uint32) complaint {
		return complaint{Errno: syscall.EMSGSIZE, Type: 3, Code: 4, MTU: mtu, From: errors4}
	}
	complains := func(t *testing.T, s *socket, want complaint) {
		t.Helper()
		if got, err := s.complaint(soon); err != nil || got != want {
			t.Errorf("the socket hears %+v (%v), want %+v", got, err, want)
		}
	}
	learned := func(t *testing.T, want int) {
		t.Helper()
		if got := top.pathMTU(t, top.laptop, server4); got != want {
			t.Errorf("the route's exception says %d octets, want %d", got, want)
		}
	}

	if top.forwards { // what does not fit comes as far as the translator
		t.Run("path MTU: UDP with DF", func(t *testing.T) {
			top.forget(t)
			s := newUDP(t, top.laptop, unix.IP_PMTUDISC_DO)
			s.connect(t, echo)
			if mtu := s.mtu(t); mtu != 1500 {
				t.Fatalf("IP_MTU is %d before anything was sent", mtu)
			}
			if err := s.send(make([]byte, 1500-headers)); err != nil {
				t.Fatal(err)
			}
			complains(t, s, fragmentationNeeded(1480))
			if mtu := s.mtu(t); mtu != 1480 {
				t.Errorf("IP_MTU is %d", mtu)
			}
			learned(t, 1480)
			if err := s.send(make([]byte, 1480-headers+1)); err != unix.EMSGSIZE {
				t.Errorf("one octet too many: %v", err)
			}
			if c, err := s.refusal(); err != nil || c != (complaint{Errno: syscall.EMSGSIZE, MTU: 1480}) {
				t.Errorf("the kernel says %+v: %v", c, err)
			}
			if err := s.send(make([]byte, 1480-headers)); err != nil {
				t.Errorf("what fits: %v", err)
			}
			if n, _, err := s.receive(make([]byte, 1500), soon); err != nil || n != 1480-headers {
				t.Errorf("%d octets came back: %v", n, err)
			}
		})
		t.Run("path MTU: TCP goes on with smaller segments", func(t *testing.T) {
			top.forget(t)
			learned(t, 0)
			before, after := top.uploadMSS(t, 3_000_000)
			if before <= 1440 || after > 1440 {
				t.Errorf("segments of %d octets became %d, want more than 1440 to become less", before, after)
			}
			learned(t, 1480)
		})
	}
	t.Run("path MTU: fragments with DF, which grow by a fragment header as well", func(t *testing.T) {
		top.forget(t)
		s := newSocket(t, top.laptop, unix.SOCK_RAW, unix.IPPROTO_UDP)
		s.set(t, unix.IP_HDRINCL, 1)
		s.set(t, unix.IP_NODEFRAG, 1) // connection tracking would put it together, and drop it as incomplete
		s.connect(t, echo)
		if err := s.send(firstFragment(t, 1448)); err != nil { // fragments carry multiples of 8 octets
			t.Fatal(err)
		}
		if c, err := s.complaint(soon / 20); err == nil {
			t.Errorf("to 1468 octets the socket hears %+v", c)
		}
		learned(t, 0)
		if err := s.send(firstFragment(t, 1456)); err != nil {
			t.Fatal(err)
		}
		complains(t, s, fragmentationNeeded(1472))
		learned(t, 1472)
	})
	t.Run("TTL 1", func(t *testing.T) {
		s := newUDP(t, top.laptop, unix.IP_PMTUDISC_DONT)
		s.connect(t, echo)
		s.set(t, unix.IP_TTL, 1)
		if err := s.send([]byte("no further than the translator")); err != nil {
			t.Fatal(err)
		}
		complains(t, s, complaint{Errno: syscall.EHOSTUNREACH, Type: 11, From: errors4})
		s.set(t, unix.IP_TTL, 64)
		if err := s.send([]byte("all the way")); err != nil {
			t.Fatal(err)
		}
		if n, _, err := s.receive(make([]byte, 100), soon); err != nil || n != len("all the way") {
			t.Errorf("%d octets came back: %v", n, err)
		}
	})
	t.Run("a flood draws a hundred errors at once and a hundred a second, and as many about what is too big", func(t *testing.T) {
		const packets, took = 20_000, 2 * time.Second
		kinds := 1 // of errors
		if top.forwards {
			kinds = 2
		}
		s := newUDP(t, top.laptop, unix.IP_PMTUDISC_PROBE) // sends 1500 octets with DF, whatever the path is said to take
		s.connect(t, netip.AddrPortFrom(server4, portClosed))
		s.set(t, unix.IP_RECVERR, 0)
		before, began := top.errorsHeard(t), time.Now()
		var flood sync.WaitGroup
		flood.Go(func() {
			small, big := make([]byte, 10), make([]byte, 1500-headers)
			for i := range packets {
				if i%100 == 0 {
					time.Sleep(time.Until(began.Add(took * time.Duration(i) / packets)))
				}
				if i%2 == 0 {
					_ = s.sendTTL(small, 1)
				} else {
					_ = s.sendTTL(big, 64)
				}
			}
		})
		t.Cleanup(flood.Wait)
		rounds := 0
		for ; time.Since(began) < took*3/4; rounds++ {
			top.download(t, top.laptop, 1_000_000)
		}
		flood.Wait()
		top.ping4(t) // behind all the packets of the flood
		heard, elapsed := top.errorsHeard(t)-before, time.Since(began)
		t.Logf("%d packets in %v drew %d errors, beside %d downloads", packets, elapsed.Round(time.Millisecond), heard, rounds)
		least, most := 200*kinds, float64(kinds)*(100+100*elapsed.Seconds()*1.2)
		if float64(heard) > most || heard < least {
			t.Errorf("%d errors in %v, want %d to %.0f", heard, elapsed, least, most)
		}
	})
	down(t, p, syscall.SIGTERM)
}

// firstFragment is an IPv4 packet of the laptop to the server's echo with so many octets behind the IPv4 header, that has DF and says
// that more fragments follow.
func firstFragment(t *testing.T, size int) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: 4711, Flags: layers.IPv4DontFragment | layers.IPv4MoreFragments, Protocol: layers.IPProtocolUDP,
		SrcIP: self4.AsSlice(), DstIP: server4.AsSlice()}
	udp := &layers.UDP{SrcPort: 4711, DstPort: portEcho}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return packet(t, ip, udp, gopacket.Payload(make([]byte, size-8)))
}

// packet is a packet of these layers.
func packet(t *testing.T, layers ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, layers...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// sendTTL sends with a TTL of its own.
func (s *socket) sendTTL(b []byte, ttl int) error {
	return unix.Sendmsg(s.fd, b, control(unix.IP_TTL, binary.NativeEndian.AppendUint32(nil, uint32(ttl))), nil, unix.MSG_DONTWAIT)
}

// uploadMSS uploads so many octets to the server in one connection, and returns how large TCP's segments are in the beginning and in the end.
func (top *topology) uploadMSS(t *testing.T, size int64) (before, after int) {
	t.Helper()
	var conn *net.TCPConn
	inside(t, top.laptop, func() (err error) {
		conn, err = net.DialTCP("tcp4", nil, &net.TCPAddr{IP: server4.AsSlice(), Port: portHTTP})
		return err
	})
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	mss := func() (n int) {
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		called := raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) })
		if err := errors.Join(called, err); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before = mss()
	if _, err := fmt.Fprintf(conn, "PUT /blob HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", server4, size); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(conn, blob(size)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := hashOf(blob(size)); string(got) != want+"\n" {
		t.Errorf("the upload has hash %q, want %s", got, want)
	}
	return before, mss()
}

// errorsHeard is how many ICMP errors the laptop's kernel has got so far.
func (top *topology) errorsHeard(t *testing.T) (sum int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", top.laptop.PID()))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case fields[0] != "Icmp:":
		case names == nil:
			names = fields
		default:
			for i, name := range names {
				if name == "InDestUnreachs" || name == "InTimeExcds" {
					n, err := strconv.Atoi(fields[i])
					if err != nil {
						t.Fatal(err)
					}
					sum += n
				}
			}
		}
	}
	return sum
}

// TestRejected has the program refuse private addresses: programs learn that at once (ICMP type 3, code 13, in Linux EHOSTUNREACH).
func TestRejected(t *testing.T) { eachPath(t, testRejected) }

func testRejected(t *testing.T, top *topology) {
	p := top.up(t, top.discovering("--pref64.prefixes", "64:ff9b::/96", "--translate.wkp-non-global", "reject")...)
	for _, addr := range []string{"10.1.2.3", "172.16.1.1", "192.168.1.1"} {
		to := netip.AddrPortFrom(netip.MustParseAddr(addr), portHTTP)
		t.Run("TCP to "+addr, func(t *testing.T) {
			began := time.Now()
			inside(t, top.laptop, func() error {
				conn, err := net.DialTimeout("tcp4", to.String(), patience)
				if err == nil {
					conn.Close()
				}
				if !errors.Is(err, syscall.EHOSTUNREACH) {
					t.Errorf("connect says %v", err)
				}
				return nil
			})
			// Where the error comes back before connect has let go of the socket, it is not believed before the second SYN, after a second.
			if took := time.Since(began); took > atOnce {
				t.Errorf("it took %v", took)
			}
		})
		t.Run("UDP to "+addr, func(t *testing.T) {
			s := newUDP(t, top.laptop, unix.IP_PMTUDISC_DO)
			s.connect(t, to)
			if err := s.send([]byte("anybody?")); err != nil {
				t.Fatal(err)
			}
			want := complaint{Errno: syscall.EHOSTUNREACH, Type: 3, Code: 13, From: errors4}
			if c, err := s.complaint(soon); err != nil || c != want {
				t.Errorf("the socket hears %+v (%v), want %+v", c, err, want)
			}
		})
	}
	t.Run("but nothing else", func(t *testing.T) {
		s := newUDP(t, top.laptop, unix.IP_PMTUDISC_DO)
		s.connect(t, netip.MustParseAddrPort("9.9.9.9:80"))
		if err := s.send([]byte("anybody?")); err != nil {
			t.Fatal(err)
		}
		want := complaint{Errno: syscall.EHOSTUNREACH, Type: 3, Code: 1, From: netip.MustParseAddr(unmapped)} // the router, which has no such route
		if c, err := s.complaint(soon); err != nil || c != want {
			t.Errorf("the socket hears %+v (%v), want %+v", c, err, want)
		}
	})
	down(t, p, syscall.SIGTERM)
}
