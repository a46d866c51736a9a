package node

import (
	"bytes"
	"net"
	"slices"
	"time"
)

// Input takes one packet of Neighbor Discovery, and from whom it came on the link layer. It may be anything: what does not pass the checks
// of RFC 4861, 7.1, or is not about us, is ignored. It sends one packet at the most. packet and from are not kept.
//
// An advertisement of our address from a link-layer address that is ours, or was, is our own, come back: a claim of nobody else.
func (n *Node) Input(packet []byte, from net.HardwareAddr, now time.Time) time.Time {
	m, ok := parse(packet)
	switch {
	case !ok || n.status == Duplicate || !n.addr.IsValid() || n.hw == nil || m.dst != n.addr && !m.dst.IsMulticast():
	case !m.advertisement && m.target == n.addr:
		n.solicited(&m, from, now)
	case m.advertisement && m.target == n.addr:
		if !n.own(from) && !n.own(m.hardware) {
			n.claimed(&m, from, now)
		}
	case m.advertisement && m.target == n.router && m.solicited && n.asked:
		n.heard, n.asked = now, false
		n.probe.left, n.probe.at = 0, now.Add(probePace)
	}
	return n.next(now)
}

// solicited takes a Neighbor Solicitation for our address.
func (n *Node) solicited(m *message, from net.HardwareAddr, now time.Time) {
	detection := m.src.IsUnspecified()
	switch {
	case detection && n.ownNonce(m.nonce):
		n.cameBack()
	case detection && n.status != Ready:
		n.giveUp(from) // RFC 4862, 5.4.3, also where we have not sent one yet: both give way
	case n.status == Tentative: // RFC 4862, 5.4.3: silently ignored
	case detection:
		n.advertise(allNodes, group(allNodes), false, true) // RFC 4861, 7.2.4
	case m.src == n.addr || !isUnicast(m.src): // nobody asks for himself, or can be answered there
	default:
		to := m.hardware
		if to == nil {
			to = unicast(from)
		}
		if to != nil {
			n.advertise(m.src, to, true, n.status == Ready) // without Override while optimistic: RFC 4429, 2.2
		}
	}
}

// cameBack is told of a solicitation of ours that the link sent back. While that lasts, the link may not carry it to others, so the
// detection goes on with three more (RFC 7527, 4.1). Only once: on a link that stays so, no address is of use, and the router's silence
// will tell.
func (n *Node) cameBack() {
	if n.status == Ready || n.looped {
		return
	}
	n.looped = true
	n.detect.left = maxSolicitations
}

// claimed takes a Neighbor Advertisement of somebody else for our address.
func (n *Node) claimed(m *message, from net.HardwareAddr, now time.Time) {
	holder := m.hardware
	if holder == nil {
		holder = from
	}
	if n.status != Ready {
		n.giveUp(holder) // RFC 4862, 5.4.4
		return
	}
	// Some links deliver a packet twice. So what comes within a second counts as one conflict; the answer to it may have to wait its turn.
	if last := n.conflicts[conflictsBorne-1]; last.IsZero() || now.Sub(last) >= retransTimer {
		if first := n.conflicts[0]; !first.IsZero() && now.Sub(first) <= conflictWindow {
			n.giveUp(holder)
			return
		}
		copy(n.conflicts[:], n.conflicts[1:])
		n.conflicts[conflictsBorne-1] = now
	}
	n.defend.start(now, 1)
	if n.defend.due(now) {
		n.defendOnce(now)
	}
}

// own says whether a link-layer address is ours, or was.
func (n *Node) own(hw net.HardwareAddr) bool {
	return bytes.Equal(hw, n.hw) || slices.ContainsFunc(n.former, func(f net.HardwareAddr) bool { return bytes.Equal(hw, f) })
}
