package monitor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"uclat/platform"
)

// links reads the links, with what a netlink.Handle leaves out of them.
func (r reader) links(s *platform.Snapshot) error {
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return err
	}
	for _, m := range messages {
		l, err := netlink.LinkDeserialize(nil, m)
		if err != nil {
			return err
		}
		a := l.Attrs()
		s.Links = append(s.Links, platform.Link{
			Index:    a.Index,
			Name:     a.Name,
			MTU:      a.MTU,
			MTU6:     mtu6(a.Name, a.MTU),
			Up:       a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0, // RUNNING: carrier, and authenticated where that is asked for
			Ups:      carrierUps(m),
			L2:       hasNeighbours(a),
			Loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
			Port:     isPort(a),
			Hardware: hardware(a),
		})
	}
	return nil
}

// carrierUps is how often the link of a message has got carrier; 0 where the kernel does not say.
func carrierUps(message []byte) int {
	attrs, err := nl.ParseRouteAttr(message[unix.SizeofIfInfomsg:])
	if err != nil {
		return 0
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.IFLA_CARRIER_UP_COUNT && len(a.Value) == 4 {
			return int(nl.NativeEndian().Uint32(a.Value))
		}
	}
	return 0
}

// isPort says whether another interface takes what comes in: a bridge, a bond, a team. What comes in by a member of a VRF is its own.
func isPort(a *netlink.LinkAttrs) bool {
	_, vrf := a.Slave.(*netlink.VrfSlave)
	return a.MasterIndex != 0 && !vrf
}

// hasNeighbours says whether what is sent by the link needs the link-layer address of a neighbour.
func hasNeighbours(a *netlink.LinkAttrs) bool {
	return len(a.HardwareAddr) > 0 && a.RawFlags&(unix.IFF_LOOPBACK|unix.IFF_POINTOPOINT|unix.IFF_NOARP) == 0
}

// hardware is the link's own address among Ethernet neighbours.
func hardware(a *netlink.LinkAttrs) string {
	if a.EncapType != "ether" || len(a.HardwareAddr) != 6 || !hasNeighbours(a) {
		return ""
	}
	return a.HardwareAddr.String()
}

// mtu6 is the IPv6 MTU of an interface: the kernel keeps there what a Router Advertisement said (RFC 4861, 6.3.4).
func mtu6(name string, mtu int) int {
	b, err := os.ReadFile(filepath.Join(ipv6Conf, name, "mtu"))
	if err != nil {
		return mtu // no IPv6 on it, or gone since
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n <= 0 {
		return mtu
	}
	return min(n, mtu)
}
