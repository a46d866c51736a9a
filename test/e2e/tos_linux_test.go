package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"uclat/test/peers"
)

// octets are the TOS octets that are tried: all that ECN has, and DSCPs with the upper bits set, such as EF (0xb8).
var octets = []uint8{0x00, 0x01, 0x02, 0x03, 0x28, 0xb8, 0xbb, 0xfc, 0xff}

// octetsTCP are what TCP makes of those without ECN: it has its own, and sends data as ECT(0), which is 2.
var octetsTCP = []uint8{0x02, 0x2a, 0xba, 0xfe}

// portTOS is the server's, of UDP and TCP.
const portTOS = 1900

// TestTOS follows the TOS octet, which is the traffic class in IPv6, in both directions and all the way: as it is on the wires, and as
// programs set and see it.
func TestTOS(t *testing.T) { eachPath(t, testTOS) }

func testTOS(t *testing.T, top *topology) {
	top.setSysctl(t, "net.ipv4.tcp_ecn", "1") // ask for it
	server := netip.AddrPortFrom(server4, portTOS)
	top.startRole(t, top.server, "tos server", server)
	for _, c := range []struct {
		name    string
		flags   []string
		becomes func(uint8) uint8 // on the other side of the translator
	}{
		{"copied", nil, func(tos uint8) uint8 { return tos }},
		{"fixed", []string{"--translate.traffic-class", "40"}, func(uint8) uint8 { return 40 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := top.up(t, top.configured(c.flags...)...)
			port := fmt.Sprintf("port %d", portTOS)
			tun := startCapture(t, top.laptop, tunDev, "icmp or "+port)
			uplink := startCapture(t, top.laptop, "eth0", "icmp6 or "+port)
			wan := startCapture(t, top.server, "eth0", "icmp or "+port)

			for _, tos := range octets {
				must(t, top.laptop, peers.Find(t, "ping"), "-c", "1", "-W", "2", "-Q", fmt.Sprint(tos), server4.String())
			}
			var exchanges []tosExchange
			top.askRole(t, top.laptop, "tos client", server, &exchanges)
			if len(exchanges) != len(octets) {
				t.Errorf("%d exchanges over UDP, want %d", len(exchanges), len(octets))
			}
			for _, x := range exchanges {
				if x.Seen != c.becomes(x.Sent) || x.SeenBack != c.becomes(x.SentBack) {
					t.Errorf("to the server %#02x became %#02x, and back %#02x became %#02x", x.Sent, x.Seen, x.SentBack, x.SeenBack)
				}
			}

			becomes := func(octets []uint8) (translated []uint8) {
				for _, tos := range octets {
					translated = append(translated, c.becomes(tos))
				}
				slices.Sort(translated)
				return slices.Compact(translated)
			}
			here := tosOnWire{"ICMP to server": octets, "UDP to server": octets, "TCP to server": octetsTCP}
			there := tosOnWire{"UDP from server": octets, "TCP from server": octetsTCP}
			for flow, octets := range here {
				there[flow] = becomes(octets)
			}
			there["ICMP from server"] = there["ICMP to server"] // the kernel answers a request with the octet that it came with
			for _, proto := range []string{"ICMP", "UDP", "TCP"} {
				here[proto+" from server"] = becomes(there[proto+" from server"])
			}
			for place, seen := range map[string]tosOnWire{
				"the uplink": readTOS(t, uplink, layers.LayerTypeEthernet), "the server": readTOS(t, wan, layers.LayerTypeEthernet),
			} {
				if d := cmp.Diff(there, seen); d != "" {
					t.Errorf("on %s:\n%s", place, d)
				}
			}
			if d := cmp.Diff(here, readTOS(t, tun, layers.LayerTypeIPv4)); d != "" {
				t.Errorf("on %s:\n%s", tunDev, d)
			}
			down(t, p, syscall.SIGTERM)
		})
	}
}

// tosOnWire is the set of TOS octets that the packets of a flow have, sorted.
type tosOnWire map[string][]uint8

// readTOS ends a capture of echo messages, UDP and TCP. Of TCP, only what carries data counts.
func readTOS(t *testing.T, c *capture, first gopacket.LayerType) tosOnWire {
	t.Helper()
	seen := tosOnWire{}
	for _, f := range c.frames(t) {
		packet := gopacket.NewPacket(f, first, gopacket.NoCopy)
		var tos uint8
		switch ip := packet.NetworkLayer().(type) {
		case *layers.IPv4:
			tos = ip.TOS
		case *layers.IPv6:
			tos = ip.TrafficClass
		}
		flow := ""
		for _, layer := range packet.Layers() {
			switch l := layer.(type) {
			case *layers.ICMPv4:
				flow = map[uint8]string{8: "ICMP to server", 0: "ICMP from server"}[l.TypeCode.Type()]
			case *layers.ICMPv6:
				flow = map[uint8]string{128: "ICMP to server", 129: "ICMP from server"}[l.TypeCode.Type()]
			case *layers.UDP:
				flow = "UDP from server"
				if l.DstPort == portTOS {
					flow = "UDP to server"
				}
			case *layers.TCP:
				switch {
				case len(l.Payload) == 0:
				case l.DstPort == portTOS:
					flow = "TCP to server"
				default:
					flow = "TCP from server"
				}
			}
		}
		if at, found := slices.BinarySearch(seen[flow], tos); flow != "" && !found {
			seen[flow] = slices.Insert(seen[flow], at, tos)
		}
	}
	return seen
}

// tosServerRole answers each datagram and each connection, with the TOS octet that its first octet asks for. A datagram's answer is the
// octet that it came with.
func tosServerRole(ctx context.Context, arg json.RawMessage, report func(any) error) error {
	var at netip.AddrPort
	if err := json.Unmarshal(arg, &at); err != nil {
		return err
	}
	udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	tcp, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	if err := setIP(udp, unix.IP_RECVTOS, 1); err != nil {
		return err
	}
	var wg sync.WaitGroup
	var udpErr, tcpErr error
	wg.Go(func() { udpErr = answerUDPWithTOS(udp) })
	wg.Go(func() { tcpErr = answerTCPWithTOS(tcp) })
	err = report("ready")
	if err == nil {
		<-ctx.Done()
	}
	err = errors.Join(err, udp.Close(), tcp.Close())
	wg.Wait()
	return errors.Join(err, udpErr, tcpErr)
}

func answerUDPWithTOS(conn *net.UDPConn) error {
	for {
		b, tos, from, err := readWithTOS(conn)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := setIP(conn, unix.IP_TOS, int(b)); err != nil {
			return err
		}
		if _, err := conn.WriteToUDPAddrPort([]byte{tos}, from); err != nil {
			return err
		}
	}
}

func answerTCPWithTOS(l *net.TCPListener) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		b := make([]byte, 1)
		_, err = conn.Read(b)
		if err == nil {
			err = setIP(conn, unix.IP_TOS, int(b[0]))
		}
		if err == nil {
			_, err = conn.Write(b)
		}
		if err = errors.Join(err, conn.Close()); err != nil {
			return err
		}
	}
}

// readWithTOS returns the first octet of a datagram and the TOS octet that it came with, for which IP_RECVTOS must be set.
func readWithTOS(conn *net.UDPConn) (b, tos uint8, from netip.AddrPort, err error) {
	buf, control := make([]byte, 10), make([]byte, 100)
	_, n, _, from, err := conn.ReadMsgUDPAddrPort(buf, control)
	if err != nil {
		return 0, 0, from, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return 0, 0, from, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TOS {
			return buf[0], m.Data[0], from, nil
		}
	}
	return 0, 0, from, errors.New("a datagram came without its TOS")
}

// tosExchange is a datagram and its answer: TOS octets as each side sent them, and as the other side saw them.
type tosExchange struct {
	Sent, Seen, SentBack, SeenBack uint8
}

// tosClientRole talks to tosServerRole: over UDP with all octets, which it reports, then over TCP with those that leave ECN alone.
func tosClientRole(ctx context.Context, arg json.RawMessage, report func(any) error) error {
	var at netip.AddrPort
	if err := json.Unmarshal(arg, &at); err != nil {
		return err
	}
	var exchanges []tosExchange
	for i, tos := range octets {
		x, err := exchangeUDPWithTOS(at, tos, octets[len(octets)-1-i])
		if err != nil {
			return fmt.Errorf("UDP with TOS %#02x: %w", tos, err)
		}
		exchanges = append(exchanges, x)
		if tos&0x03 != 0 {
			continue
		}
		if err := exchangeTCPWithTOS(ctx, at, tos); err != nil {
			return fmt.Errorf("TCP with TOS %#02x: %w", tos, err)
		}
	}
	return report(exchanges)
}

// exchangeUDPWithTOS sends a datagram with one TOS octet and asks for an answer with another.
func exchangeUDPWithTOS(to netip.AddrPort, tos, ask uint8) (tosExchange, error) {
	x := tosExchange{Sent: tos, SentBack: ask}
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return x, err
	}
	defer conn.Close()
	if err := errors.Join(setIP(conn, unix.IP_TOS, int(tos)), setIP(conn, unix.IP_RECVTOS, 1)); err != nil {
		return x, err
	}
	if _, err := conn.Write([]byte{ask}); err != nil {
		return x, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return x, err
	}
	x.Seen, x.SeenBack, _, err = readWithTOS(conn)
	return x, err
}

// exchangeTCPWithTOS sends an octet with a TOS octet from the SYN on, and asks for the same back.
func exchangeTCPWithTOS(ctx context.Context, to netip.AddrPort, tos uint8) error {
	dialer := net.Dialer{Timeout: patience, Control: func(_, _ string, conn syscall.RawConn) error { return setRawIP(conn, unix.IP_TOS, int(tos)) }}
	conn, err := dialer.DialContext(ctx, "tcp4", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	b := []byte{tos}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	_, err = conn.Read(b)
	return err
}
