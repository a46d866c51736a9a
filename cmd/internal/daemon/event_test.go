package daemon

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/datapath"
)

func TestEventLine(t *testing.T) {
	four := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	for _, tt := range []struct {
		event datapath.Event
		want  string
	}{
		{datapath.Event{Reason: clat.DropZeroChecksum, Direction: clat.To6, Proto: 17, Src: four("100.64.46.4:5000"), Dst: four("198.51.100.10:53")},
			`dropped UDP without a checksum from 100.64.46.4:5000 to 198.51.100.10:53: IPv6 needs one; translate.udp-zero-checksum = "compute" ` +
				`gives it one`},
		{datapath.Event{Reason: clat.DropZeroChecksum, Direction: clat.To6, Proto: 17, Fragment: true,
			Src: four("100.64.46.4:5000"), Dst: four("198.51.100.10:53")},
			`dropped UDP without a checksum from 100.64.46.4:5000 to 198.51.100.10:53: IPv6 needs one, and it cannot be computed because the ` +
				`datagram comes in fragments; have the sender use checksums, or datagrams that need no fragments`},
		{datapath.Event{Reason: clat.DropZeroChecksum, Direction: clat.To4, Proto: 17, Src: four("[64:ff9b::c633:640a]:53"),
			Dst: four("[2001:db8::46]:5000")},
			`dropped UDP without a checksum from [64:ff9b::c633:640a]:53 to [2001:db8::46]:5000, which IPv6 forbids; ` +
				`translate.udp6-zero-checksum = "pass" lets it through, as UDP over IPv4 without a checksum`},
		{datapath.Event{Reason: clat.DropExtension, Direction: clat.To4, Proto: 60, Src: four("[64:ff9b::c633:640a]:0"), Dst: four("[2001:db8::46]:0")},
			`dropped a packet from 64:ff9b::c633:640a to 2001:db8::46: extension header 60 follows its fragment header, and such fragments cannot be ` +
				`translated (RFC 7915, 5.1.1); the sender has to leave it out`},
	} {
		if got := eventLine(tt.event); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// zeroUDP is a datagram of the host without a checksum, from a port of ours to port 53.
func zeroUDP(port uint16) []byte {
	p := []byte{0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, 100, 64, 46, 4, 198, 51, 100, 5, 0, 0, 0, 53, 0, 8, 0, 0}
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:20]))
	binary.BigEndian.PutUint16(p[20:], port)
	return p
}

const dropZeroUDP = pinned + "\ntranslate.udp-zero-checksum = 'drop'"

func dropped(port int) string {
	return fmt.Sprintf(`level=WARN msg="dropped UDP without a checksum from 100.64.46.4:%d to 198.51.100.5:53: IPv6 needs one; `+
		`translate.udp-zero-checksum = \"compute\" gives it one" about=packets drop=udp-zero-checksum`, port)
}

func TestEventsAreLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, dropZeroUDP, laptop())
		r.tuns.current().in <- zeroUDP(5000)
		r.after(0)
		r.expect(openTUN, full, on, firewalls, dropped(5000))
		for port := range uint16(100) {
			r.tuns.current().in <- zeroUDP(5001 + port)
		}
		r.after(0)
		r.expect(dropped(5001), dropped(5002)) // so many at once
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.expect(nothing, closeTUN, strings.Replace(stopped, "bytes-46=0", "bytes-46=0 drop-46-udp-zero-checksum=101", 1))
	})
}

// stuck is a log that nobody reads.
type stuck struct{ until <-chan struct{} }

func (s stuck) Write(line []byte) (int, error) {
	<-s.until
	return len(line), nil
}

func TestNoPacketWaitsForTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, dropZeroUDP, laptop())
		until := make(chan struct{})
		o.Packets = slog.New(slog.NewTextHandler(stuck{until}, nil))
		r.run(o)
		for range 3 * maxEvents {
			r.tuns.current().in <- zeroUDP(5000)
			r.after(time.Second)
		}
		p := zeroUDP(5000)
		p[27] = 1 // with a checksum
		r.tuns.current().in <- p
		if out := <-r.tuns.current().out; out[0]>>4 != 6 {
			t.Errorf("% x", out)
		}
		close(until)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}
