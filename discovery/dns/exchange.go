package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"
)

const (
	tries      = 3               // queries to a resolver that is silent
	udpTimeout = 2 * time.Second // for the answer to one query
	tcpTimeout = 4 * time.Second // for connecting and the answer: twice the round trips
	udpSize    = 4096            // octets; 512 is what a query without EDNS is answered with at most
)

// errSilent is a query without an answer in time: the one failure that is worth another try at once.
var errSilent = fmt.Errorf("no answer to %d queries, each given %v: is the resolver reachable from here, and its UDP port open",
	tries, udpTimeout)

// exchange asks one resolver once: over UDP, and over TCP where the answer is too long for that.
func (f *Finder) exchange(ctx context.Context, link Link, server netip.AddrPort) (reply, error) {
	r, err := f.converse(ctx, link, "udp", server, udpTimeout, askUDP)
	if errors.Is(err, errTruncated) {
		r, err = f.converse(ctx, link, "tcp", server, tcpTimeout, askTCP)
		if errors.Is(err, errSilent) {
			err = fmt.Errorf("no answer within %v", tcpTimeout)
		}
		if err != nil {
			err = fmt.Errorf("the answer is too long for UDP, and asking over TCP failed: %w", err)
		}
	}
	return r, err
}

// converse opens a connection of its own, so that each query has a port that nobody can guess, and lets ask use it for so long.
func (f *Finder) converse(ctx context.Context, link Link, network string, server netip.AddrPort, timeout time.Duration,
	ask func(net.Conn) (reply, error)) (reply, error) {
	timed, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var r reply
	conn, err := f.dial(link)(timed, network, server.String())
	unrouted := noRoute(err)
	if err == nil {
		defer conn.Close()
		stop := context.AfterFunc(timed, func() { conn.Close() }) // ends a Read or Write that waits
		defer stop()
		r, err = ask(conn)
	}
	var ne net.Error
	switch {
	case err == nil:
		return r, nil
	case ctx.Err() != nil:
		return reply{}, ctx.Err()
	case timed.Err() != nil || errors.As(err, &ne) && ne.Timeout():
		return reply{}, errSilent
	}
	if unrouted != nil {
		if server.Addr().Unmap().Is4() {
			return reply{}, fmt.Errorf("the resolver has an IPv4 address, and %s has no IPv4 of its own that leads there: %w", link.Name, unrouted)
		}
		return reply{}, fmt.Errorf("%s has no route to the resolver: %w", link.Name, unrouted)
	}
	// The addresses in a net.OpError are the resolver's, which the caller names, and our port, which is another each time.
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return reply{}, err
}

// noRoute is why there is no way to where a connection was to lead, if that is what failed.
func noRoute(err error) error {
	for _, cause := range []error{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, cause) {
			return cause
		}
	}
	return nil
}

// askUDP sends a query and waits for its answer. The socket is connected: what does not come from the resolver is not seen.
func askUDP(conn net.Conn) (reply, error) {
	id, msg, err := query()
	if err != nil {
		return reply{}, err
	}
	if _, err := conn.Write(msg); err != nil {
		return reply{}, err
	}
	buf := make([]byte, udpSize)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return reply{}, err
		}
		r, err := parse(buf[:n], id)
		if errors.Is(err, errForeign) {
			continue // forged, or late
		}
		return r, err
	}
}

// askTCP is askUDP for a stream: each message has its length in two octets before it (RFC 1035, 4.2.2), so none exceeds 65535.
func askTCP(conn net.Conn) (reply, error) {
	id, msg, err := query()
	if err != nil {
		return reply{}, err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
		return reply{}, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return reply{}, fmt.Errorf("reading the length of the answer: %w", err)
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return reply{}, fmt.Errorf("reading an answer of %d octets: %w", len(answer), err)
	}
	return parse(answer, id)
}
