package monitor

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const rtaNHID = 30 // RTA_NH_ID (linux/rtnetlink.h), of a route by a nexthop object

// expired are the next hops of IPv6 routes by Router Advertisements whose lifetime is over. The kernel uses them no more, and lists them until it next
// collects its garbage, which can take net.ipv6.route.gc_interval (30 s).
type expired map[nextHop]bool

// nextHop is one next hop of an IPv6 route, and what tells it from all others.
type nextHop struct {
	table  int
	dst    netip.Prefix
	metric int
	link   int        // index
	via    netip.Addr // invalid: on-link
}

// prune takes the expired next hops from a route, and says whether it has others.
func (e expired) prune(dst netip.Prefix, r *netlink.Route) bool {
	gone := func(link int, gw net.IP, via netlink.Destination) bool {
		return e[nextHop{r.Table, dst, r.Priority, link, gateway(gw, via)}]
	}
	if len(r.MultiPath) == 0 {
		return !gone(r.LinkIndex, r.Gw, r.Via)
	}
	r.MultiPath = slices.DeleteFunc(r.MultiPath, func(h *netlink.NexthopInfo) bool { return gone(h.LinkIndex, h.Gw, h.Via) })
	return len(r.MultiPath) > 0
}

// readExpired has the kernel tell the routes by Router Advertisements alone, once more: a netlink.Handle leaves out when they expire.
func readExpired() (expired, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("which have expired: open a netlink socket: %w", err)
	}
	defer socket.Close()
	timeout := unix.NsecToTimeval(dumpTimeout.Nanoseconds())
	socket.SetSendTimeout(&timeout)
	socket.SetReceiveTimeout(&timeout)
	// Without this, before Linux 4.20, it tells all routes.
	_ = unix.SetsockoptInt(socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)

	request := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	request.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Protocol: unix.RTPROT_RA, Type: unix.RTN_UNICAST}})
	e := expired{}
	var malformed error
	err = request.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, func(m []byte) bool {
		malformed = e.add(m)
		return malformed == nil
	})
	if err == nil {
		err = malformed
	}
	if err != nil {
		return nil, fmt.Errorf("which have expired: %w", err)
	}
	return e, nil
}

// add takes in what has expired of one route as the kernel tells it: struct rtmsg with attributes (linux/rtnetlink.h).
func (e expired) add(message []byte) error {
	if len(message) < unix.SizeofRtMsg {
		return nil
	}
	m := nl.DeserializeRtMsg(message)
	switch {
	case m.Family != unix.AF_INET6 || m.Protocol != unix.RTPROT_RA || m.Type != unix.RTN_UNICAST || m.Flags&unix.RTM_F_CLONED != 0:
		return nil
	case m.Src_len != 0: // for some sources only: another route may differ from it in that alone
		return nil
	}
	attrs, err := nl.ParseRouteAttrAsMap(message[unix.SizeofRtMsg:])
	if err != nil {
		return err
	}
	if !isOver(attrs[unix.RTA_CACHEINFO].Value) {
		return nil
	}
	number := func(attr uint16) int {
		if v := attrs[attr].Value; len(v) == 4 {
			return int(nl.NativeEndian().Uint32(v))
		}
		return 0
	}
	var dst *net.IPNet
	if a, ok := attrs[unix.RTA_DST]; ok {
		dst = &net.IPNet{IP: a.Value, Mask: net.CIDRMask(int(m.Dst_len), 8*len(a.Value))}
	}
	h := nextHop{table: number(unix.RTA_TABLE), metric: number(unix.RTA_PRIORITY), link: number(unix.RTA_OIF), via: address(attrs[unix.RTA_GATEWAY].Value)}
	var ok bool
	if h.dst, ok = destination(netlink.FAMILY_V6, dst); !ok {
		return nil
	}
	several, ok := attrs[unix.RTA_MULTIPATH]
	if !ok {
		e[h] = true
		return nil
	}
	// The lifetime that the kernel tells is the first next hop's. Others have their own, and the kernel goes on with the route while one of them has
	// not expired. Those of a nexthop object have one together.
	_, together := attrs[rtaNHID]
	return e.addSeveral(h, several.Value, together)
}

// addSeveral takes in the first next hop of those in an RTA_MULTIPATH, or all: each is a struct rtnexthop with attributes.
func (e expired) addSeveral(h nextHop, b []byte, all bool) error {
	for len(b) >= unix.SizeofRtNexthop {
		n := int(nl.NativeEndian().Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			return unix.EINVAL
		}
		attrs, err := nl.ParseRouteAttrAsMap(b[unix.SizeofRtNexthop:n])
		if err != nil {
			return err
		}
		h.link, h.via = int(nl.NativeEndian().Uint32(b[4:])), address(attrs[unix.RTA_GATEWAY].Value)
		e[h] = true
		if !all {
			return nil
		}
		b = b[n:]
	}
	return nil
}

// isOver reads a struct rta_cacheinfo. Its third number, rta_expires, is how long the route is still valid: below 0 where that is over, and 0 where it
// has no end.
func isOver(cacheinfo []byte) bool {
	return len(cacheinfo) >= 12 && int32(nl.NativeEndian().Uint32(cacheinfo[8:])) < 0
}
