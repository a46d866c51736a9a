// Package config reads what the user wants from a TOML file and from flags, checks it, and fills in the defaults. A *Config that it
// returns is complete, valid and shared by all: nobody changes it. It knows nothing of the host, so what depends on the host, such as
// whether an interface exists or an address is taken, is decided elsewhere.
//
// Every setting is one Key: the same name with dots is the key in the file and the flag on the command line, and a flag wins over the
// file. A key that is unknown, of the wrong type or out of range is an error that says where it stands.
package config

import (
	_ "embed"
	"net/netip"
	"strings"

	"uclat/clat/pref64"
)

// Reference is a configuration file that explains every key, and that changes nothing as long as its settings are commented out.
//
//go:embed reference.toml
var Reference string

// Config is everything that can be configured. It is immutable after it was made: its slices belong to it alone, and whoever wants
// another Config makes another.
type Config struct {
	Mode      Mode
	Uplink    string // interface that faces the PLAT; empty: the one with the IPv6 default route
	Path      Path
	Inbound   Inbound
	Interface Interface
	PREF64    PREF64
	Address   Address
	Probe     Probe
	Maps      []Map
	Translate Translate
}

// Router says whether this is a plain translator, the SIIT of RFC 7915: interface.ipv4 is empty. It has no IPv4 addresses and no clients of
// its own. Whatever is routed to its interface, in either family, comes back translated: each address by a map, else by the NAT64 prefix.
func (c *Config) Router() bool { return !c.Interface.IPv4.IsValid() }

// RouterMTU6 is what the IPv6 side of a Router takes where interface.mtu is 0, in octets: there is no uplink to ask.
const RouterMTU6 = 1500

// SelfIPv6 is the source of the translator's ICMPv6 errors: address.self-ipv6, else what stands for interface.self-ipv4 behind the
// prefix address.ipv6, else that one address: the sender knows no other of us. For a Router it is address.self-ipv6, else what stands for
// interface.self-ipv4 behind the first of pref64.prefixes. It is invalid where none of them is set.
func (c *Config) SelfIPv6() netip.Addr {
	if c.Address.SelfIPv6.IsValid() {
		return c.Address.SelfIPv6
	}
	if c.Router() && len(c.PREF64.Prefixes) > 0 {
		return behind(c.PREF64.Prefixes[0], c.Interface.SelfIPv4)
	}
	if p, ok := c.Address.Embedding(); ok {
		return behind(p, c.Interface.SelfIPv4)
	}
	return c.Address.IPv6.Addr()
}

// Mode says when the CLAT is on.
type Mode string

const (
	ModeAuto  Mode = "auto"  // where there is no native IPv4
	ModeOn    Mode = "on"    // also beside native IPv4, which keeps the better metric
	ModeOff   Mode = "off"   // never
	ModeForce Mode = "force" // as on, whatever speaks against it
)

// Path says how packets get to the uplink.
type Path string

const (
	PathAuto   Path = "auto"   // packet for a host, kernel for what is routed to it
	PathPacket Path = "packet" // by packet sockets, as an IPv6 node of its own on the uplink
	PathKernel Path = "kernel" // back into the TUN, and the kernel routes them
)

// Inbound says what may come in from the IPv6 side. The zero value is InboundReplies for a host, and InboundAll where clients are behind it.
// A Router has no filter.
type Inbound string

const (
	InboundReplies Inbound = "replies" // what answers something that went out, and errors about that
	InboundAll     Inbound = "all"     // also what was not asked for; the host's firewall decides
)

// RepliesOnly is what Inbound means for this configuration.
func (c *Config) RepliesOnly() bool {
	_, host := c.Interface.Host()
	return c.Inbound == InboundReplies || c.Inbound == "" && host
}

// Interface is the TUN device, the IPv4 side of the translator.
type Interface struct {
	Name         string
	IPv4         netip.Prefix // /32: the host's own address; shorter: of clients behind this host, which has none of them; invalid: Router
	SelfIPv4     netip.Addr   // source of the translator's ICMP errors; nobody else has it
	MTU          int          // octets, of an IPv6 packet on the way out; 0: the uplink's, or RouterMTU6
	IPv4MTU      int          // octets, 68 to 65535, of an IPv4 packet on the IPv4 side; 0: as it follows from the IPv6 side
	Metric       int          // of the IPv4 default route; the higher, the less wanted
	DefaultRoute bool         // whether there is one
}

// Host is the IPv4 address that the host itself uses; false where interface.ipv4 is a prefix for clients behind it, or empty.
func (i Interface) Host() (netip.Addr, bool) { return i.IPv4.Addr(), i.IPv4.IsSingleIP() }

// PREF64 is where NAT64 prefixes come from.
type PREF64 struct {
	Prefixes []pref64.Prefix // the configured ones, best first
	Sources  []Source        // the ones that are asked, in no particular order; at least one
}

// Source is a way to learn a PREF64.
type Source string

const (
	SourceConfigured Source = "configured" // pref64.prefixes
	SourceRA         Source = "ra"         // RFC 8781, of routers that this host has accepted
	SourceDNS        Source = "dns"        // RFC 7050
)

// RAFrom is the Source of all routers on one interface, whether this host has accepted them or not.
func RAFrom(link string) Source { return SourceRA + ":" + Source(link) }

// RALink is the interface of an RAFrom.
func (s Source) RALink() (link string, ok bool) {
	return strings.CutPrefix(string(s), string(SourceRA)+":")
}

// Address is the IPv6 side of the translator.
type Address struct {
	IPv6            netip.Prefix // /128: stands for the host's IPv4 address; shorter: see Embedding. The zero value: one is made
	SelfIPv6        netip.Addr   // as configured, else the zero value; see Config.SelfIPv6
	DAD             DAD
	ChecksumNeutral bool // of the address that is made: translation leaves transport checksums as they are
}

// DAD is how duplicate address detection is done.
type DAD string

const (
	DADNormal     DAD = "normal"     // before the address is used (RFC 4862, 5.4)
	DADOptimistic DAD = "optimistic" // at the same time, for an address that was ours within the last day (RFC 4429)
)

// Probe is how the NAT64 is watched.
type Probe struct {
	Targets []netip.Addr // IPv4 addresses behind it; none: nobody is asked
}

// Embedding is the prefix behind which the IPv4 addresses of interface.ipv4 stand (RFC 6052, 2.2); false where address.ipv6 is a
// single address or none.
func (a Address) Embedding() (pref64.Prefix, bool) {
	if !a.IPv6.IsValid() || a.IPv6.IsSingleIP() {
		return pref64.Prefix{}, false
	}
	p, err := pref64.From(a.IPv6)
	return p, err == nil
}

// Map is an explicit address mapping (RFC 7757): both prefixes have no host bits, and the IPv6 suffix is at least as long as the IPv4
// suffix.
type Map struct {
	IPv4, IPv6 netip.Prefix
}

// Action is what becomes of a packet of a certain kind.
type Action string

const (
	ActionTranslate  Action = "translate"  // as any other
	ActionReject     Action = "reject"     // dropped, and an ICMP error tells the sender
	ActionDrop       Action = "drop"       // dropped
	ActionCompute    Action = "compute"    // translated, with a checksum computed over the whole packet
	ActionPass       Action = "pass"       // translated without a checksum
	ActionReassemble Action = "reassemble" // kept until the whole is there, which is then translated
)

// TrafficClass is what the TOS and traffic class octet of translated packets becomes. The zero value copies it.
type TrafficClass struct {
	Fixed bool  // it is Octet for every packet, both ways
	Octet uint8 // 0 unless Fixed
}

// Translate is what RFC 7915 and its companions leave to the operator.
type Translate struct {
	WKPNonGlobal       Action       // non-global IPv4 addresses behind 64:ff9b::/96 (RFC 6052, 3.1): translate or reject
	Hairpin            bool         // IPv6 hosts that have a map reach each other by their IPv4 addresses (RFC 7757, 4); of a Router only
	LowestIPv6MTU      int          // octets, 1280 to 65535: largest IPv6 packet of one without DF (RFC 7915, 4.1); 0: as uplink and path take it
	UDPZeroChecksum    Action       // UDP over IPv4 without a checksum (RFC 7915, 4.5): compute or drop
	UDP6ZeroChecksum   Action       // UDP over IPv6 with checksum 0 (RFC 8200, 8.1; RFC 6935): drop or pass
	ICMPFragments      Action       // ICMP in fragments (RFC 7915, 1.2): reassemble or drop
	TTLTransparent     bool         // TTL and hop limit stay as they are, instead of one less
	TrafficClass       TrafficClass // copied or fixed (RFC 7915, 4.1 and 5.1)
	ClampMSS           bool         // the MSS of a TCP SYN is lowered to what fits the MTU, both ways
	UnmappedSource     netip.Addr   // IPv4 source of ICMP errors from IPv6 routers that no IPv4 address stands for; invalid: they are dropped
	NodeIdentification bool         // whether these errors tell the router's IPv6 address, in an ICMP extension
	ICMPErrors         bool         // whether the translator sends ICMP errors of its own
	ICMPv6Prohibited   bool         // whether IPv6 packets without a mapping are answered with ICMPv6 type 1, code 1 (RFC 7915, 5.4)
}

// Default is the Config of an empty file.
func Default() Config {
	var c Config
	for _, k := range keys {
		for _, v := range k.defaults() {
			if err := k.set(&c, v); err != nil {
				panic("config: default of " + k.Name + ": " + err.Error())
			}
		}
	}
	return c
}
