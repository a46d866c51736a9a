package config

import (
	"net/netip"
	"slices"
	"strings"

	"uclat/clat"
	"uclat/clat/pref64"
)

// Kind is the type of one value of a Key, by TOML's names.
type Kind uint8

const (
	String Kind = iota
	Integer
	Boolean
	Mixed // a word as a string, or a number as an integer
)

// String is the kind's name in error messages and help.
func (k Kind) String() string { return [...]string{"string", "integer", "boolean", "word|number"}[k] }

// Key is one setting, in the file and as a flag.
type Key struct {
	Name    string // with dots: the key Name in the file, the flag --Name
	Kind    Kind
	List    bool   // an array in the file, a repeatable flag; for map: an array of tables, and --map IPV4=IPV6
	Default string // as text; empty: none. Values of a list have commas between them
	Doc     string // one line of help, beginning in lower case and without full stop
}

// minMTU4 is what every link carries of IPv4, in octets (RFC 791, 3.2).
const minMTU4 = 68

// mapKey is the one key that is an array of tables.
const mapKey = "map"

// key is a Key and how one value of it gets into a Config. For a list, set appends, and reset empties it first.
type key struct {
	Key
	set   func(*Config, string) error
	reset func(*Config)
}

func (k *key) defaults() []string {
	switch {
	case !k.List:
		return []string{k.Default}
	case k.Default == "":
		return nil
	}
	return strings.Split(k.Default, ",")
}

// Keys are all settings, in the order of the reference file.
func Keys() []Key {
	all := make([]Key, len(keys))
	for i, k := range keys {
		all[i] = k.Key
	}
	return all
}

func findKey(name string) *key {
	for i := range keys {
		if keys[i].Name == name {
			return &keys[i]
		}
	}
	return nil
}

var keys = []key{
	scalar("mode", "auto", "when to be on: auto (where native IPv4 is missing), on, off, force (whatever speaks against it)",
		word(func(c *Config) *Mode { return &c.Mode }, ModeAuto, ModeOn, ModeOff, ModeForce)),
	scalar("uplink", "", "interface that faces the NAT64; empty: the one with the IPv6 route to it",
		optional(interfaceName, func(c *Config) *string { return &c.Uplink })),
	scalar("path", "auto", "how packets get to the uplink: auto, packet (by packet sockets, past the kernel), kernel (which routes them)",
		word(func(c *Config) *Path { return &c.Path }, PathAuto, PathPacket, PathKernel)),
	scalar("inbound", "", "what may come in: replies, all (also what was not asked for); empty: replies, or all for clients",
		optional(inbound, func(c *Config) *Inbound { return &c.Inbound })),

	scalar("interface.name", "clat0", "name of the IPv4 interface",
		value(interfaceName, func(c *Config) *string { return &c.Interface.Name })),
	scalar("interface.ipv4", "100.64.46.4/32", "IPv4 address of this host, or the prefix of the clients behind it; empty: a plain translator",
		optional(hostPrefix4, func(c *Config) *netip.Prefix { return &c.Interface.IPv4 })),
	scalar("interface.self-ipv4", "100.64.46.5", "IPv4 source of the translator's own ICMP errors, never an address of the host",
		value(hostAddr4, func(c *Config) *netip.Addr { return &c.Interface.SelfIPv4 })),
	number("interface.mtu", "0", "octets of an IPv6 packet on the way out, 1280 to 65535; 0: as the uplink has it; plain translator: 1500",
		integer(func(c *Config) *int { return &c.Interface.MTU }, "0 or 1280 to 65535", clat.MinMTU6, 65535, 0)),
	number("interface.ipv4-mtu", "0", "octets of an IPv4 packet on the IPv4 side, 68 to 65535; 0: as it follows from the IPv6 side",
		integer(func(c *Config) *int { return &c.Interface.IPv4MTU }, "0 or 68 to 65535", minMTU4, 65535, 0)),
	number("interface.metric", "2000000", "metric of the IPv4 default route; native IPv4 has a lower one, and wins",
		integer(func(c *Config) *int { return &c.Interface.Metric }, "1 to 2147483647", 1, 1<<31-1)),
	boolean("interface.default-route", "true", "whether the IPv4 default route goes through the interface",
		func(c *Config) *bool { return &c.Interface.DefaultRoute }),

	list("pref64.prefixes", "", "NAT64 prefix, such as 64:ff9b::/96; the first is preferred",
		appendTo(nat64Prefix, func(c *Config) *[]pref64.Prefix { return &c.PREF64.Prefixes })),
	list("pref64.sources", "configured,ra,dns",
		"where NAT64 prefixes come from: configured (pref64.prefixes), ra (RFC 8781), dns (RFC 7050), ra:INTERFACE (whoever sends them there)",
		appendTo(source, func(c *Config) *[]Source { return &c.PREF64.Sources })),

	scalar("address.ipv6", "", "IPv6 address or prefix that stands for interface.ipv4; empty: one of the uplink's prefix is made",
		optional(ownPrefix6, func(c *Config) *netip.Prefix { return &c.Address.IPv6 })),
	scalar("address.self-ipv6", "", "IPv6 source of the translator's own ICMPv6 errors; empty: from address.ipv6, else pref64.prefixes",
		optional(selfAddr6, func(c *Config) *netip.Addr { return &c.Address.SelfIPv6 })),
	scalar("address.dad", "normal", "duplicate address detection: normal (before use), optimistic (while an address of the last day is in use)",
		word(func(c *Config) *DAD { return &c.Address.DAD }, DADNormal, DADOptimistic)),
	boolean("address.checksum-neutral", "false", "whether the address that is made leaves transport checksums as they are",
		func(c *Config) *bool { return &c.Address.ChecksumNeutral }),

	list("probe.targets", "", "IPv4 address that is pinged now and then, to see whether the NAT64 works",
		appendTo(probeTarget, func(c *Config) *[]netip.Addr { return &c.Probe.Targets })),

	list(mapKey, "", "explicit address mapping IPV4=IPV6, addresses or prefixes (RFC 7757)",
		appendTo(parseMap, func(c *Config) *[]Map { return &c.Maps })),

	scalar("translate.wkp-non-global", "translate", "private and other non-global IPv4 addresses behind 64:ff9b::/96: translate, reject",
		word(func(c *Config) *Action { return &c.Translate.WKPNonGlobal }, ActionTranslate, ActionReject)),
	boolean("translate.hairpin", "true", "whether IPv6 hosts that have a map reach each other by their IPv4 addresses; for plain translators",
		func(c *Config) *bool { return &c.Translate.Hairpin }),
	mixed("translate.lowest-ipv6-mtu", "1280", "octets of the largest IPv6 packet that an IPv4 packet without DF becomes: auto, or 1280 to 65535",
		autoOr(func(c *Config) *int { return &c.Translate.LowestIPv6MTU }, "1280 to 65535", clat.MinMTU6, 65535)),
	scalar("translate.udp-zero-checksum", "compute", "UDP over IPv4 without a checksum: compute (one), drop",
		word(func(c *Config) *Action { return &c.Translate.UDPZeroChecksum }, ActionCompute, ActionDrop)),
	scalar("translate.udp6-zero-checksum", "drop", "UDP over IPv6 with checksum 0: drop, pass (as UDP over IPv4 without a checksum)",
		word(func(c *Config) *Action { return &c.Translate.UDP6ZeroChecksum }, ActionDrop, ActionPass)),
	scalar("translate.icmp-fragments", "reassemble", "ICMP in fragments: reassemble, drop",
		word(func(c *Config) *Action { return &c.Translate.ICMPFragments }, ActionReassemble, ActionDrop)),
	boolean("translate.ttl-transparent", "false", "whether TTL and hop limit stay as they are, so that traceroute does not see the translator",
		func(c *Config) *bool { return &c.Translate.TTLTransparent }),
	mixed("translate.traffic-class", "copy", "TOS and traffic class octet of what is translated: copy, or a number from 0 to 255 for all",
		value(trafficClass, func(c *Config) *TrafficClass { return &c.Translate.TrafficClass })),
	boolean("translate.clamp-mss", "false", "whether the MSS that a TCP SYN offers is lowered to what fits the MTU",
		func(c *Config) *bool { return &c.Translate.ClampMSS }),
	scalar("translate.unmapped-source", "192.0.0.8", "IPv4 source of ICMP errors from IPv6 routers that have no IPv4 address; empty: dropped",
		optional(unmappedSource, func(c *Config) *netip.Addr { return &c.Translate.UnmappedSource })),
	boolean("translate.node-identification", "true", "whether such ICMP errors tell the router's IPv6 address",
		func(c *Config) *bool { return &c.Translate.NodeIdentification }),
	boolean("translate.icmp-errors", "true", "whether the translator sends ICMP errors of its own",
		func(c *Config) *bool { return &c.Translate.ICMPErrors }),
	boolean("translate.icmpv6-prohibited", "false", "whether IPv6 packets without a mapping are answered with \"administratively prohibited\"",
		func(c *Config) *bool { return &c.Translate.ICMPv6Prohibited }),
}

func scalar(name, def, doc string, set func(*Config, string) error) key {
	return key{Key: Key{Name: name, Kind: String, Default: def, Doc: doc}, set: set}
}

func number(name, def, doc string, set func(*Config, string) error) key {
	return key{Key: Key{Name: name, Kind: Integer, Default: def, Doc: doc}, set: set}
}

func mixed(name, def, doc string, set func(*Config, string) error) key {
	return key{Key: Key{Name: name, Kind: Mixed, Default: def, Doc: doc}, set: set}
}

func boolean(name, def, doc string, at func(*Config) *bool) key {
	return key{Key: Key{Name: name, Kind: Boolean, Default: def, Doc: doc}, set: value(parseBool, at)}
}

func list(name, def, doc string, in setList) key {
	return key{Key: Key{Name: name, Kind: String, List: true, Default: def, Doc: doc}, set: in.add, reset: in.reset}
}

// tables are the names of the tables that keys stand in, in the order of the reference file.
func tables() []string {
	var names []string
	for _, k := range keys {
		if table, _, ok := strings.Cut(k.Name, "."); ok && !slices.Contains(names, table) {
			names = append(names, table)
		}
	}
	return names
}

// keysOf are the keys of a table, without its name; of none for "".
func keysOf(table string) []string {
	var names []string
	for _, name := range fileKeys() {
		before, last := "", name
		if i := strings.IndexByte(name, '.'); i >= 0 {
			before, last = name[:i], name[i+1:]
		}
		if before == table {
			names = append(names, last)
		}
	}
	return names
}

func flagNames() []string {
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	return names
}

// fileKeys are the names of all keys in a file, where a mapping has two halves.
func fileKeys() []string {
	names := slices.DeleteFunc(flagNames(), func(name string) bool { return name == mapKey })
	return append(names, mapKey+".ipv4", mapKey+".ipv6")
}
