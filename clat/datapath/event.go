package datapath

import (
	"encoding/binary"
	"net/netip"
	"time"

	"uclat/clat"
	"uclat/clat/siit"
)

// Event is a drop that whoever runs the translator should hear of, because no ICMP error tells it to anybody.
type Event struct {
	// Reason is DropZeroChecksum (RFC 7915, 4.5; RFC 8200, 8.1), or DropExtension for an extension header behind the Fragment Header
	// (RFC 7915, 5.1.1).
	Reason    clat.DropReason
	Direction clat.Direction
	Fragment  bool           // it is a part of a datagram: with DropZeroChecksum the first one
	Proto     uint8          // UDP; with DropExtension, the number of that extension header
	Src, Dst  netip.AddrPort // as the packet came; with DropExtension without ports, which are 0
}

// So many events a second and so many at once, over all workers. The counters have every drop.
const (
	eventsPerSecond = 1
	eventBurst      = 3
)

// report tells OnEvent that p was dropped for r, if that is an Event. p is as it came: the translator changes nothing of what it drops
// for these reasons, but of what it would have sent back, which shows by its version.
func (e *Engine) report(r clat.DropReason, d clat.Direction, p []byte) {
	if e.OnEvent == nil || r != clat.DropZeroChecksum && r != clat.DropExtension || (p[0]>>4 == 6) != (d == clat.To4) {
		return
	}
	if ev, ok := newEvent(r, d, p); ok && e.events.AllowN(time.Now(), 1) {
		e.OnEvent(ev)
	}
}

// newEvent reads p, of which nothing is certain but that the translator dropped it for r.
func newEvent(r clat.DropReason, d clat.Direction, p []byte) (Event, bool) {
	const udp = 17
	h, ok := siit.ReadHeader(p)
	if !ok {
		return Event{}, false
	}
	ev := Event{
		Reason: r, Direction: d, Fragment: h.Fragment, Proto: h.Proto,
		Src: netip.AddrPortFrom(h.Src, 0), Dst: netip.AddrPortFrom(h.Dst, 0),
	}
	switch {
	case r == clat.DropExtension:
		return ev, h.FragmentHeader // for others it is dropped before the Fragment Header
	case h.Proto != udp || len(h.Transport) < 4:
		return Event{}, false
	}
	ev.Src = netip.AddrPortFrom(h.Src, binary.BigEndian.Uint16(h.Transport))
	ev.Dst = netip.AddrPortFrom(h.Dst, binary.BigEndian.Uint16(h.Transport[2:]))
	return ev, true
}
