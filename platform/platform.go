// Package platform is what the programs of this project need to know of a host, and what they may ask of it: plain values.
// Sub-packages do the work, one need each.
package platform

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
)

// ErrUnsupported is what a constructor of a sub-package returns on a system that it does not serve yet.
var ErrUnsupported = errors.New("not supported on this system yet")

// Unsupported is ErrUnsupported with the name of the system and of what is missing there.
func Unsupported(what string) error {
	return fmt.Errorf("%s on %s: %w", what, runtime.GOOS, ErrUnsupported)
}

// Link is a network interface.
type Link struct {
	Index int
	Name  string
	MTU   int  // octets, of the link layer's payload
	MTU6  int  // octets, of an IPv6 packet: MTU, or less where a Router Advertisement said so
	Up    bool // administratively up and with carrier
	L2    bool // has link-layer addresses, so that neighbours must be resolved

	// Ups is how often it has got carrier: one that is different from before tells of a loss that was too short to be seen. 0: not known.
	Ups int

	Loopback bool

	// Port says that it is a port of a bridge or the like: what comes in there is for that.
	Port bool

	// Hardware is its link-layer address where that is Ethernet's (Wi-Fi too): six octets, as in net.HardwareAddr.String. Else empty.
	Hardware string
}

// Address is one address of an interface.
type Address struct {
	Link       int // index
	Prefix     netip.Prefix
	Tentative  bool
	Deprecated bool
	Permanent  bool // has no end of its validity: somebody set it by hand
	Autoconf   bool // made of a prefix that a router announced for that, with A=1 (RFC 4862, 5.5.3)
}

// Route is a unicast route of the main table, or one that HostConfig asks for.
type Route struct {
	Dst    netip.Prefix
	Via    netip.Addr // invalid: on-link
	Link   int        // index; 0 in a HostConfig: the TUN
	Metric int
	MTU    int  // octets; 0: the interface's
	FromRA bool // the kernel learned it from a Router Advertisement

	// Src is the source that the host's own packets get which have none yet; invalid: as the system chooses.
	Src netip.Addr
}

// Neighbour is the link-layer address that the host knows of a neighbour.
type Neighbour struct {
	Link     int // index
	Addr     netip.Addr
	Hardware string // as in net.HardwareAddr.String
}

// Route4 is where some IPv4 addresses are, as seen from the host.
type Route4 struct {
	Dst  netip.Prefix
	Link int // index
}

// Snapshot is the host as it is now, read whole. Order is by index, then address; reflect.DeepEqual compares two.
type Snapshot struct {
	Links  []Link
	Addrs  []Address
	Routes []Route

	// Indices of the links that any unicast route of the main table leads to, link-local ones aside, in order.
	Routed []int

	// IPv6 default routes of other tables than main. Rules may lead there, or not.
	OtherRoutes []Route

	// The next hops of IPv6 default routes of any table whose link-layer address is known, in order.
	Neighbours []Neighbour

	// Where the host reaches IPv4: unicast and local routes of all tables, but for default routes (also in halves), in order.
	Routes4 []Route4

	// Indices of the links where the host drops IPv4 packets from sources that it has no route to, in order: on Linux rp_filter.
	Filtered4 []int

	// Whether the host forwards packets that come in by any interface, of either family: on Linux net.ipv4.ip_forward, or forwarding of one
	// interface; and net.ipv6.conf.all.forwarding, or force_forwarding of one.
	Forwarding4, Forwarding6 bool
}

// Link is the interface with that index.
func (s *Snapshot) Link(index int) (Link, bool) {
	for _, l := range s.Links {
		if l.Index == index {
			return l, true
		}
	}
	return Link{}, false
}

// LinkByName is the interface with that name.
func (s *Snapshot) LinkByName(name string) (Link, bool) {
	for _, l := range s.Links {
		if l.Name == name {
			return l, true
		}
	}
	return Link{}, false
}

// HostConfig is the host as it should be. The zero value is "nothing of ours". hostnet makes it so; twice is once.
type HostConfig struct {
	TUN     string // name of the device, which exists
	MTU     int    // octets, of the device
	IPv6    bool   // the device carries IPv6, also where new interfaces get none; Forward implies it
	Addrs   []netip.Prefix
	Routes  []Route
	Forward *Forward // nil: what the kernel forwards is not our business

	// Blackhole are IPv6 addresses of ours that the kernel must not take for somebody's on the link: where the host forwards IPv6, it would send
	// Redirects and ICMPv6 errors for packets to them, which are ours to read from the link.
	Blackhole []netip.Prefix
}

// Forward asks the kernel to forward IPv6 between the TUN and the uplink, and nothing but what is translated.
type Forward struct {
	Uplink string         // name of the interface that faces the PLAT
	CLAT   []netip.Prefix // IPv6 addresses that stand for our IPv4 addresses
	PREF64 []netip.Prefix // IPv6 addresses that stand for all others

	// RepliesOnly lets in only what answers something that went out, and errors about that.
	RepliesOnly bool
}
