package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"uclat/clat/pref64"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/errgroup"
)

// nameServer answers A queries from names, and AAAA queries by synthesis where it has a prefix: a DNS64 (RFC 6147).
type nameServer struct {
	names map[string][]netip.Addr
	dns64 pref64.Prefix // the zero value: no synthesis
}

// serve answers on port 53 of addr, over UDP and TCP, until ctx ends. ready is called when both sockets are open.
func (s nameServer) serve(ctx context.Context, addr string, ready func() error) error {
	var lc net.ListenConfig
	udp, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(addr, "53"))
	if err != nil {
		return err
	}
	defer udp.Close()
	tcp, err := lc.Listen(ctx, "tcp", net.JoinHostPort(addr, "53"))
	if err != nil {
		return err
	}
	defer tcp.Close()
	if err := ready(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { udp.Close(); tcp.Close() })
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return s.serveUDP(udp) })
	g.Go(func() error { return s.serveTCP(tcp) })
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

func (s nameServer) serveUDP(conn net.PacketConn) error {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if reply, err := s.answer(buf[:n]); err == nil {
			// A client that is gone does not end the server.
			_, _ = conn.WriteTo(reply, from)
		}
	}
}

func (s nameServer) serveTCP(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			var size [2]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(conn, query); err != nil {
				return
			}
			if reply, err := s.answer(query); err == nil {
				_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
			}
		}()
	}
}

// answer is the response to a query of one question. An error means that there is nothing to answer.
func (s nameServer) answer(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	switch {
	case err != nil:
		return nil, err
	case h.Response:
		return nil, errors.New("a response")
	}
	addrs, known := s.names[strings.ToLower(q.Name.String())]
	rcode := dnsmessage.RCodeSuccess
	if !known {
		rcode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: h.ID, Response: true, Authoritative: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true, RCode: rcode,
	})
	b.EnableCompression()
	if err := errors.Join(b.StartQuestions(), b.Question(q), b.StartAnswers()); err != nil {
		return nil, err
	}
	rr := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60}
	for _, a := range addrs {
		switch {
		case q.Type == dnsmessage.TypeA:
			err = b.AResource(rr, dnsmessage.AResource{A: a.As4()})
		case q.Type == dnsmessage.TypeAAAA && s.dns64.IsValid():
			err = b.AAAAResource(rr, dnsmessage.AAAAResource{AAAA: s.dns64.Embed(a.As4())})
		}
		if err != nil {
			return nil, err
		}
	}
	return b.Finish()
}
