package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

func ping(ctx context.Context) (string, error) {
	const count = 3
	err := pings(count, []byte("uclat lab"))
	return fmt.Sprintf("%d of %d answered by %v", count, count, serverNet.Addr()), err
}

// pingFragments is for what RFC 7915 does not ask of a translator: ICMP in fragments.
func pingFragments(ctx context.Context) (string, error) {
	const size = 4000
	return fmt.Sprintf("%d octets came back", size), pings(1, bytes.Repeat([]byte("uclat!"), size)[:size])
}

// pings sends echo requests with data to the server, one after the other is answered.
func pings(count int, data []byte) error {
	conn, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return err
	}
	defer conn.Close()
	for seq := range count {
		from, reply, err := probe(conn, 64, len(data)+seq, data)
		if err != nil {
			return fmt.Errorf("request %d: %w", seq+1, err)
		}
		echo, ok := reply.Body.(*icmp.Echo)
		if reply.Type != ipv4.ICMPTypeEchoReply || from != serverNet.Addr() || !ok || !bytes.Equal(echo.Data, data) {
			return fmt.Errorf("request %d: %v from %v is not the answer", seq+1, reply.Type, from)
		}
	}
	return nil
}

func traceroute(ctx context.Context) (string, error) {
	conn, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var hops []string
	for ttl := 1; ttl <= 12; ttl++ {
		from, reply, err := probe(conn, ttl, 100+ttl, []byte("uclat lab"))
		if err != nil {
			return "", fmt.Errorf("after %s: TTL %d: %w", strings.Join(hops, " "), ttl, err)
		}
		hops = append(hops, from.String())
		if reply.Type == ipv4.ICMPTypeEchoReply {
			return strings.Join(hops, " "), nil
		}
	}
	return "", fmt.Errorf("no end: %s", strings.Join(hops, " "))
}

// probe sends an echo request with a TTL, and returns who answered it with what.
func probe(conn *icmp.PacketConn, ttl, seq int, data []byte) (netip.Addr, *icmp.Message, error) {
	if err := conn.IPv4PacketConn().SetTTL(ttl); err != nil {
		return netip.Addr{}, nil, err
	}
	id := os.Getpid() & 0xffff
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq, Data: data}}
	b, err := m.Marshal(nil)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	if _, err := conn.WriteTo(b, &net.IPAddr{IP: serverNet.Addr().AsSlice()}); err != nil {
		return netip.Addr{}, nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return netip.Addr{}, nil, err
	}
	buf := make([]byte, 65535)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return netip.Addr{}, nil, err
		}
		reply, err := icmp.ParseMessage(1, buf[:n])
		if err != nil || !answers(reply, id, seq) {
			continue
		}
		addr, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		return addr.Unmap(), reply, nil
	}
}

// answers says whether m is the reply to an echo request, or the error about it.
func answers(m *icmp.Message, id, seq int) bool {
	switch b := m.Body.(type) {
	case *icmp.Echo:
		return m.Type == ipv4.ICMPTypeEchoReply && b.ID == id && b.Seq == seq
	case *icmp.TimeExceeded:
		// The quoted packet: an IPv4 header without options, then the request.
		if len(b.Data) < 28 {
			return false
		}
		quoted, err := icmp.ParseMessage(1, b.Data[20:])
		if err != nil {
			return false
		}
		e, ok := quoted.Body.(*icmp.Echo)
		return ok && e.ID == id && e.Seq == seq
	}
	return false
}
