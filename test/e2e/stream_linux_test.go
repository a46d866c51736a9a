package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// stream is UDP to the server's echo and back, in a steady flow. So few are on their way at a time that no queue overflows, however busy
// the machine is: what is lost, somebody has dropped.
type stream struct {
	conn *net.UDPConn
	stop context.CancelFunc // sending

	writing, reading sync.WaitGroup

	mu       sync.Mutex
	sent     int
	returned int
	missing  map[uint64]bool
	err      error
}

const (
	streamWindow = 16                     // packets on their way
	streamGap    = 500 * time.Microsecond // between two of them
)

// startStream begins one from the laptop, and returns when the first has come back.
func (top *topology) startStream(t *testing.T, to netip.Addr) *stream {
	t.Helper()
	return top.startStreamFrom(t, netip.IPv4Unspecified(), to)
}

// startStreamFrom has its socket bound to an address of the laptop.
func (top *topology) startStreamFrom(t *testing.T, from, to netip.Addr) *stream {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &stream{stop: stop, missing: map[uint64]bool{}}
	inside(t, top.laptop, func() (err error) {
		at, echo := netip.AddrPortFrom(from, 0), netip.AddrPortFrom(to, portEcho)
		s.conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(at), net.UDPAddrFromAddrPort(echo))
		return err
	})
	s.writing.Go(func() { s.write(ctx) })
	s.reading.Go(s.read)
	t.Cleanup(func() {
		s.stop()
		s.conn.Close()
		s.writing.Wait()
		s.reading.Wait()
	})
	s.goesOn(t)
	return s
}

// write sends until ctx ends.
func (s *stream) write(ctx context.Context) {
	pace := time.NewTicker(streamGap)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		s.mu.Lock()
		n := uint64(s.sent)
		full := len(s.missing) >= streamWindow || s.err != nil
		if !full {
			s.missing[n] = true
			s.sent++
		}
		s.mu.Unlock()
		if full {
			continue
		}
		if _, err := s.conn.Write(streamPacket(n)); err != nil {
			s.fail(err)
		}
	}
}

// streamPacket is the content of packet n. All of one size have the same checksum: TAYGA makes 0 of one in 65,536, with which UDP over IPv6
// is dropped (RFC 8200, 8.1).
func streamPacket(n uint64) []byte {
	size := [...]int{16, 400, 1400}[n%3]
	return append(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n), ^n), make([]byte, size-16)...)
}

// read takes what comes back, until the socket is closed.
func (s *stream) read() {
	buf := make([]byte, 2000)
	for {
		n, err := s.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.fail(err) // an ICMP error is a loss too
			continue
		}
		s.mu.Lock()
		if number := binary.BigEndian.Uint64(buf[:n]); s.missing[number] && bytes.Equal(buf[:n], streamPacket(number)) {
			delete(s.missing, number)
			s.returned++
		}
		s.mu.Unlock()
	}
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(err, net.ErrClosed) {
		s.err = errors.Join(s.err, err)
	}
}

// goesOn waits until a few more have come back.
func (s *stream) goesOn(t *testing.T) {
	t.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.returned
	}
	is := count()
	eventually(t, "packets come back", func() bool { return count() > is+2*streamWindow })
}

// end stops sending, and says how many were sent, and how many of them did not come back.
func (s *stream) end(t *testing.T) (sent, lost int) {
	t.Helper()
	s.stop()
	s.writing.Wait()
	left := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.missing)
	}
	for late := time.Now().Add(2 * time.Second); left() > 0 && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
	}
	s.conn.Close()
	s.reading.Wait()
	if s.err != nil {
		t.Errorf("UDP: %v", s.err)
	}
	t.Logf("%d packets went and %d came back", s.sent, s.returned)
	return s.sent, len(s.missing)
}

// recovers waits until packets come back again, and then loses none. What went before that may be lost. The socket is the same.
func (s *stream) recovers(t *testing.T) {
	t.Helper()
	before := s.forgive()
	eventually(t, "packets come back again", func() bool { return s.forgive() > before })
	s.goesOn(t)
	if sent, lost := s.end(t); lost > 0 {
		t.Errorf("%d of %d packets were lost behind the change", lost, sent)
	}
}

// forgive forgets what was lost, so that it goes on sending, and says how many came back so far.
func (s *stream) forgive() (returned int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = nil
	clear(s.missing)
	return s.returned
}
