// Package siit is the IP/ICMP translation algorithm of RFC 7915, without state, I/O, clock, lock or allocation.
//
// A Translator is immutable and shared. What changes from packet to packet is in the Scratch that each worker owns. There is one
// translation for single packets and for super-packets: a frame's offload state is read, honoured and carried along.
package siit

import (
	"fmt"
	"net/netip"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/frame"
)

// Verdict is what became of a packet.
type Verdict uint8

const (
	Drop       Verdict = iota // nothing to send; Reason says why
	Forward                   // Out holds the translated packet, or its fragments in order
	Reply                     // Out holds one ICMP message to the sender: an error, and the packet is dropped for Reason, or an echo reply
	Reassemble                // a fragment of ICMP, which Scratch.Fragment describes: Complete the whole, and come back with that
)

// Result is what Translate returns. Out lives in the Scratch until Reset: the frame that came in, changed in place, or spare frames.
// Each frame of Out leaves by its own IP version, whatever the verdict.
type Result struct {
	Verdict Verdict
	Reason  clat.DropReason
	Out     []*frame.Frame
}

// MinMTU4 is the least IPv4 MTU that there is, in octets (RFC 791, 3.2). From 1260 up, nothing that IPv6 lets through must be fragmented
// on the way into IPv4.
const MinMTU4 = 68

// Options are a Translator's settings. MTUs are in octets of an IP packet.
type Options struct {
	MTU6       int        // what the IPv6 side takes, 1280 to 65535
	MTU4       int        // what the IPv4 side takes, 68 to 65535
	LowestMTU6 int        // size to which IPv4 packets without DF are fragmented (lowest-ipv6-mtu of RFC 7915, 4), at most; 1280 to MTU6
	Self4      netip.Addr // source of our ICMPv4 errors; invalid: none are sent. Never an address of the host, which would ignore them
	Self6      netip.Addr // source of our ICMPv6 errors; invalid: none are sent

	// UnmappedSource is the source of an ICMPv4 error that an IPv6 router without an IPv4 address caused; 192.0.0.8 by
	// draft-ietf-v6ops-icmpext-xlat-v6only-source, 4.1. Invalid: such errors are dropped.
	UnmappedSource netip.Addr
	NodeID         bool // tell the router's IPv6 address in these errors by a Node Identification object; not in Fragmentation Needed

	TTLTransparent bool  // leave TTL and hop limit as they are
	SetTOS         bool  // give every packet TOS as its TOS or traffic class, instead of copying it (RFC 7915, 4.1 and 5.1)
	TOS            uint8 // the octet for SetTOS

	ClampMSS     bool // lower the MSS that a TCP SYN offers to what fits both MTUs
	DropZeroUDP4 bool // drop IPv4 UDP without a checksum, instead of computing one (RFC 7915, 4.5)
	PassZeroUDP6 bool // let IPv6 UDP without a checksum through (RFC 6935), instead of dropping it
	Reassemble   bool // want ICMP in fragments to be put together, instead of dropping it (RFC 7915, 1.2)
	Hairpin      bool // send back what one IPv6 host with a Mapping sends to the IPv4 address of another (RFC 7757, 4.2.2)
	NoErrors     bool // send no ICMP errors of our own
	Prohibited6  bool // answer IPv6 packets that have no mapping with ICMPv6 "administratively prohibited" (RFC 7915, 5.4)
}

// Translator is RFC 7915 over one Table.
type Translator struct {
	m *eam.Table

	mtu6, mtu4, lowest int
	self4, unmapped    [4]byte
	self6              [16]byte
	errors4, errors6   bool // whether ICMP errors of our own are sent
	isOwn4, isOwn6     bool // whether self4 and self6 are ours alone
	hasUnmapped        bool
	nodeID             bool
	prohibited6        bool
	setTOS             bool
	tos                uint8
	hop                uint8  // what is taken off TTL and hop limit
	mss                uint16 // the most that a SYN may offer; 0: whatever it does

	dropZeroUDP4, passZeroUDP6 bool
	reassemble, hairpin        bool
}

// New checks the options. Its errors name the option, its value and the bounds.
func New(m *eam.Table, o Options) (*Translator, error) {
	switch {
	case o.MTU6 < clat.MinMTU6 || o.MTU6 > 65535:
		return nil, fmt.Errorf("IPv6 MTU %d is not within %d to 65535", o.MTU6, clat.MinMTU6)
	case o.MTU4 < MinMTU4 || o.MTU4 > 65535:
		return nil, fmt.Errorf("IPv4 MTU %d is not within %d to 65535", o.MTU4, MinMTU4)
	case o.LowestMTU6 < clat.MinMTU6 || o.LowestMTU6 > o.MTU6:
		return nil, fmt.Errorf("lowest IPv6 MTU %d is not within %d to the IPv6 MTU %d", o.LowestMTU6, clat.MinMTU6, o.MTU6)
	case o.Self4.IsValid() && !o.Self4.Is4():
		return nil, fmt.Errorf("source of ICMPv4 errors %v is no IPv4 address", o.Self4)
	case o.Self6.IsValid() && (!o.Self6.Is6() || o.Self6.Is4In6()):
		return nil, fmt.Errorf("source of ICMPv6 errors %v is no IPv6 address", o.Self6)
	case o.UnmappedSource.IsValid() && !o.UnmappedSource.Is4():
		return nil, fmt.Errorf("unmapped source %v is no IPv4 address", o.UnmappedSource)
	}
	t := &Translator{
		m: m, mtu6: o.MTU6, mtu4: o.MTU4, lowest: o.LowestMTU6, hop: 1,
		errors4: o.Self4.IsValid() && !o.NoErrors, errors6: o.Self6.IsValid() && !o.NoErrors, hasUnmapped: o.UnmappedSource.IsValid(),
		nodeID: o.NodeID, prohibited6: o.Prohibited6, setTOS: o.SetTOS, tos: o.TOS,
		dropZeroUDP4: o.DropZeroUDP4, passZeroUDP6: o.PassZeroUDP6, reassemble: o.Reassemble, hairpin: o.Hairpin,
	}
	if o.ClampMSS {
		t.mss = uint16(min(o.MTU6-len6, o.MTU4-len4) - lenTCP)
	}
	if o.Self4.IsValid() {
		t.self4, t.isOwn4 = o.Self4.As4(), true
	}
	if o.Self6.IsValid() {
		t.self6 = o.Self6.As16()
		// What stands for somebody else is his: where there is but one IPv6 address, it is the client's.
		t.isOwn6 = m.Dst4(new([4]byte), &t.self6, &t.self6) != clat.DropNone
	}
	if o.UnmappedSource.IsValid() {
		t.unmapped = o.UnmappedSource.As4()
	}
	if o.TTLTransparent {
		t.hop = 0
	}
	return t, nil
}

// Translate takes a packet of either version and consumes f, which needs frame.Headroom before it and frame.Tailroom behind it. The
// caller makes sure that s.Ready holds.
func (t *Translator) Translate(f *frame.Frame, s *Scratch) Result {
	switch f.Version() {
	case 4:
		return t.to6(f, s)
	case 6:
		r := t.to4(f, s)
		if s.hairpin {
			r = t.back(r, s)
		}
		return r
	}
	return drop(clat.DropVersion)
}

// trafficClass is the TOS or traffic class of a packet that came in with v.
func (t *Translator) trafficClass(v uint8) uint8 {
	if t.setTOS {
		return t.tos
	}
	return v
}

func drop(r clat.DropReason) Result { return Result{Reason: r} }
