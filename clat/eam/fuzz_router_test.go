package eam

import (
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/pref64"
)

// routerRefuses is why a Router does not map a packet; empty where it must.
func (m *model) routerRefuses(src, dst netip.Addr, embedded bool) string {
	wantSrc, mappedSrc, _ := m.counterpart(src, dst)
	wantDst, mappedDst, _ := m.counterpart(dst, src)
	if !wantSrc.IsValid() || !wantDst.IsValid() {
		return "no address of the other family"
	}
	src4, dst4 := src, dst
	if src.Is6() {
		src4, dst4 = wantSrc, wantDst
	}
	self := m.Self4
	if self == netip.IPv4Unspecified() {
		self = netip.Addr{}
	}
	switch {
	case src4 == self || dst4 == self:
		return "one end is the translator itself"
	case dst.IsMulticast() || dst == netip.MustParseAddr("255.255.255.255"):
		return "to a group"
	case !mappedSrc && m.rejects(src4, src, wantSrc) || !mappedDst && m.rejects(dst4, dst, wantDst):
		return "non-global behind 64:ff9b::/96"
	case embedded:
		return ""
	case src.Is4() && illegalSource4(src.As4()):
		return "illegal source"
	case src.IsMulticast() || src.IsUnspecified() || src.IsLoopback() || src.Is6() && src.IsLinkLocalUnicast():
		return "illegal source"
	case !mappedSrc && neverRemote(src4.As4()) || !mappedDst && m.find(dst4, src4) < 0 && neverRemote(dst4.As4()):
		return "no host has this address"
	case src.Is6() && !mappedSrc && m.find(src4, dst4) >= 0:
		return "the source poses as a host that has a mapping"
	}
	return ""
}

// rejects is whether v4 may not be behind the one of a and b that is an IPv6 address.
func (m *model) rejects(v4, a, b netip.Addr) bool {
	return m.RejectNonGlobal && isWellKnown(m.PREF64, a, b) && nonGlobal(v4.As4())
}

// checkHairpin: four is what became of a packet, or of one that an error quotes. One end of a hairpin is behind a prefix though it has a
// mapping: the destination, or of a quote the source. On the way back that one is by its mapping, and the other by the prefix.
func (m *model) checkHairpin(t *testing.T, table *Table, four Pair4, src, dst netip.Addr, embedded bool) {
	src4, dst4 := netip.AddrFrom4(four.Src), netip.AddrFrom4(four.Dst)
	end, other, end4, other4 := dst, src, dst4, src4
	if embedded {
		end, other, end4, other4 = src, dst, src4, dst4
	}
	if want := m.Role == Router && m.find(end, other) < 0 && m.find(end4, other4) >= 0; four.Hairpin != want {
		t.Fatalf("%v to %v, embedded %v: hairpin %v, want %v\n%+v", src, dst, embedded, four.Hairpin, want, m.Spec)
	}
	if !four.Hairpin {
		return
	}
	var back Pair6
	reason := table.Hairpin6(&back, four.Src, four.Dst, embedded)
	prefix := behind(m.PREF64[0])
	wantSrc, wantDst := to(prefix, other4), to(m.all[m.find(end4, other4)], end4)
	if embedded {
		wantSrc, wantDst = wantDst, wantSrc
	}
	refused := m.RejectNonGlobal && m.PREF64[0] == pref64.WellKnown && nonGlobal(other4.As4())
	if refused != (reason == clat.DropNonGlobal) || !refused && reason != clat.DropNone {
		t.Fatalf("%v to %v, embedded %v: the way back is refused: %v", src4, dst4, embedded, reason)
	}
	if refused {
		return
	}
	if got := [2]netip.Addr{netip.AddrFrom16(back.Src), netip.AddrFrom16(back.Dst)}; got != [2]netip.Addr{wantSrc, wantDst} {
		t.Fatalf("%v to %v, embedded %v: back as %v, want %v to %v\n%+v", src4, dst4, embedded, got, wantSrc, wantDst, m.Spec)
	}
	checkDelta(t, back.Delta, append(src4.AsSlice(), dst4.AsSlice()...), append(wantSrc.AsSlice(), wantDst.AsSlice()...))
}
