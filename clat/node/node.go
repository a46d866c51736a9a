// Package node is the IPv6 node that has one address on an Ethernet link.
//
// The host's kernel does not have the address, so nobody else does what Neighbor Discovery (RFC 4861) asks of its owner. The node makes
// sure that nobody has it (RFC 4862, RFC 4429, RFC 7527), tells the routers of it (RFC 9131), answers for it, keeps it in the memory of
// the link and defends it. It does not resolve the addresses of others, is no router, and leaves the membership of the solicited-node
// group to whoever opens the link. It has no socket, clock, goroutine or lock: packets and time go in, packets come out, and it remembers
// the same little whatever it is sent.
package node

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	retransTimer      = time.Second // between two packets of a kind: RETRANS_TIMER of RFC 4861, 10
	maxAdvertisements = 3           // MAX_NEIGHBOR_ADVERTISEMENT of RFC 4861, 10
	maxSolicitations  = 3           // MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT of RFC 4861, 10
	maxFormer         = 8           // link-layer addresses of earlier that are still known as ours

	// Wireless controllers forget a host that was silent for 5 minutes, and so do the snooping tables of switches: two probes fit in.
	probePace = 2 * time.Minute

	// Two hosts that both insist on an address help nobody, as each takes the other's packets: who hears another claim it more often
	// than conflictsBorne in conflictWindow gives it up and takes another, which costs a second or two.
	conflictsBorne = 2
	conflictWindow = 30 * time.Second
)

// Status says what may be done with the address.
type Status uint8

const (
	Tentative  Status = iota // nothing: whether somebody else has it is being found out
	Optimistic               // the same, but it may be used meanwhile (RFC 4429)
	Ready                    // it is ours
	Duplicate                // somebody else has it; this is final
)

// String is the status in one word.
func (s Status) String() string {
	return [...]string{"tentative", "optimistic", "ready", "duplicate"}[s&3]
}

// Options are what a Node begins with.
type Options struct {
	Addr       netip.Addr       // IPv6, unicast
	Hardware   net.HardwareAddr // the link's own, now; 6 octets
	Optimistic bool             // the address may be used while duplicate address detection runs (RFC 4429)
	Nonce      [6]byte          // random, to tell our own detection from that of others where the link sends it back (RFC 7527)

	// Send takes a whole IPv6 packet and the link-layer address that it is for. Both are valid during the call only. Where it cannot send
	// the packet, it calls Unsent.
	Send func(packet []byte, to net.HardwareAddr)
}

// Node is for one goroutine. The methods that return a time say when Tick is wanted next; zero: not before something else happens.
type Node struct {
	addr   netip.Addr         // invalid: that of the Options is none that a node could have
	hw     net.HardwareAddr   // nil: not known
	former []net.HardwareAddr // what it was before, the last maxFormer of them
	send   func(packet []byte, to net.HardwareAddr)

	status Status
	holder net.HardwareAddr

	detect round  // solicitations from ::, and a wait behind the last of them
	nonce  uint64 // of the first of them; each has one of its own, and counts on from here
	sent   uint64 // how many there were
	looped bool   // one of them came back

	announce round
	override bool // the announcement is for everybody, who shall forget what they knew; else for routers, which learn what they did not know

	router   netip.Addr       // the next hop; invalid: none
	routerHW net.HardwareAddr // nil: not known
	probe    round            // of the next hop
	asked    bool             // since it answered last
	heard    time.Time

	defend    round
	conflicts [conflictsBorne]time.Time // the last ones that counted, oldest first; zero: none
}

// New is a node that has sent nothing: the first Tick begins the detection, whenever that is. Without 6 octets of Hardware it begins when
// SetHardware has told them; where Addr is no unicast IPv6 address, never.
func New(o Options) *Node {
	n := &Node{hw: unicast(o.Hardware), send: o.Send, nonce: binary.BigEndian.Uint64(append([]byte{0, 0}, o.Nonce[:]...))}
	if a := o.Addr.WithZone(""); isUnicast(a) {
		n.addr = a
		if o.Optimistic {
			n.status = Optimistic
		}
	}
	n.begin(longAgo)
	return n
}

// Tick does what is due. Calling it early does no harm; being late delays what is due.
func (n *Node) Tick(now time.Time) time.Time {
	if n.detect.due(now) {
		n.detectDuplicate(now)
	}
	if n.announce.due(now) {
		n.announceOnce(now)
	}
	if n.probe.due(now) {
		n.probeRouter(now)
	}
	if n.defend.due(now) {
		n.defendOnce(now)
	}
	return n.next(now)
}

// SetHardware tells the link-layer address that the link has now. If it changed, the detection begins anew, or, where the address is ours
// already, everybody is told (RFC 4861, 7.2.6). Anything but 6 octets of a unicast address is ignored.
func (n *Node) SetHardware(a net.HardwareAddr, now time.Time) time.Time {
	hw := unicast(a)
	if hw == nil || bytes.Equal(hw, n.hw) {
		return n.next(now)
	}
	if n.hw != nil {
		n.former = append(slices.DeleteFunc(n.former, func(f net.HardwareAddr) bool { return bytes.Equal(f, n.hw) }), n.hw)
		n.former = slices.Delete(n.former, 0, max(0, len(n.former)-maxFormer))
	}
	n.hw = hw
	switch n.status {
	case Tentative, Optimistic:
		n.begin(now)
	case Ready:
		n.override = true
		n.announce.start(now, maxAdvertisements)
		n.meetRouter(now)
	}
	return n.next(now)
}

// SetRouter tells the next hop, which is kept aware of us, and its link-layer address. An invalid addr, or one that no neighbour can have:
// there is none; anything but 6 octets of a unicast hw: it is not known yet. Where any of that changed, RouterHeard is forgotten.
func (n *Node) SetRouter(addr netip.Addr, hw net.HardwareAddr, now time.Time) time.Time {
	addr, hw = addr.WithZone(""), unicast(hw)
	if !isUnicast(addr) || addr == n.addr {
		addr, hw = netip.Addr{}, nil
	}
	if addr != n.router || !bytes.Equal(hw, n.routerHW) {
		n.router, n.routerHW = addr, hw
		n.asked, n.heard = false, time.Time{}
		n.meetRouter(now)
	}
	return n.next(now)
}

// Unsent tells, from within Send, that the packet did not leave. So nobody may have been asked for the address: while the detection runs,
// at least one more solicitation follows, a second after this one.
func (n *Node) Unsent() {
	if n.status == Tentative || n.status == Optimistic {
		n.detect.left = max(n.detect.left, 1)
	}
}

// Status is what may be done with the address now.
func (n *Node) Status() Status { return n.status }

// Holder is the link-layer address of who has our address, as far as that was seen; nil unless Duplicate.
func (n *Node) Holder() net.HardwareAddr { return n.holder }

// RouterHeard is when the next hop of SetRouter last answered us; zero: it never did.
func (n *Node) RouterHeard() time.Time { return n.heard }

// begin starts duplicate address detection (RFC 4862, 5.4), or starts it anew. There is no random delay before it: that is for hosts
// that all boot at once, and the host's own kernel spoke on this link before us.
func (n *Node) begin(now time.Time) {
	if !n.addr.IsValid() || n.hw == nil {
		return
	}
	n.looped = false
	n.detect.start(now, 1)
	if n.status == Optimistic {
		// It is in use from now on, and what comes back has to find us (RFC 9131, 6.1.2; O=0 by RFC 4429, 2.2).
		n.announce.start(now, maxAdvertisements)
	}
}

// detectDuplicate sends the next solicitation, or finds that time is up and nobody objected.
func (n *Node) detectDuplicate(now time.Time) {
	if n.detect.left > 0 {
		n.detect.sent(now)
		n.solicitDuplicate()
		return
	}
	n.detect.stop()
	if n.status == Tentative {
		n.announce.start(now, maxAdvertisements)
	}
	n.status, n.override = Ready, false
	n.meetRouter(now)
}

func (n *Node) announceOnce(now time.Time) {
	n.announce.sent(now)
	if n.announce.left == 0 {
		n.announce.stop()
	}
	if n.override {
		n.advertise(allNodes, group(allNodes), false, true)
	} else {
		n.advertise(allRouters, group(allRouters), false, false) // RFC 9131, 6.1.2
	}
}

// meetRouter starts to probe the next hop, if it can be. Not with an address that may not be ours (RFC 4429, 2.2).
func (n *Node) meetRouter(now time.Time) {
	if n.status == Ready && n.routerHW != nil {
		n.probe.start(now, maxSolicitations)
	} else {
		n.probe.stop()
	}
}

// probeRouter is what neighbour unreachability detection sends (RFC 4861, 7.3.3). It has the router and the switches on the way remember
// our address, and its answer shows that the router is there.
func (n *Node) probeRouter(now time.Time) {
	if n.probe.left == 0 {
		n.probe.left = maxSolicitations
	}
	n.asked = true
	n.probe.sent(now)
	if n.probe.left == 0 {
		n.probe.at = now.Add(probePace)
	}
	n.solicitRouter()
}

func (n *Node) defendOnce(now time.Time) {
	n.defend.sent(now)
	n.defend.stop()
	n.advertise(allNodes, group(allNodes), false, true)
}

// giveUp is for good.
func (n *Node) giveUp(holder net.HardwareAddr) {
	n.status, n.holder = Duplicate, slices.Clone(holder)
	for _, r := range n.rounds() {
		r.stop()
	}
}

// next is when the first round wants to go on, and not before now.
func (n *Node) next(now time.Time) (at time.Time) {
	for _, r := range n.rounds() {
		if !r.at.IsZero() && (at.IsZero() || r.at.Before(at)) {
			at = r.at
		}
	}
	if !at.IsZero() && at.Before(now) {
		at = now
	}
	return at
}

func (n *Node) rounds() [4]*round { return [4]*round{&n.detect, &n.announce, &n.probe, &n.defend} }

// round is a few packets of one kind, none sooner than retransTimer after another, whatever starts it how often.
type round struct {
	left int
	at   time.Time // when the next is due; zero: none is
	last time.Time // when the last was sent; zero: none was
}

// longAgo is when something is due that was never put off. It is not the zero time.
var longAgo = time.Unix(0, 0)

func (r *round) start(now time.Time, left int) {
	r.left, r.at = left, now
	if soonest := r.last.Add(retransTimer); !r.last.IsZero() && now.Before(soonest) {
		r.at = soonest
	}
}

func (r *round) due(now time.Time) bool { return !r.at.IsZero() && !now.Before(r.at) }

func (r *round) sent(now time.Time) {
	r.left--
	r.last, r.at = now, now.Add(retransTimer)
}

func (r *round) stop() { r.at = time.Time{} }
