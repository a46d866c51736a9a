package config

import (
	"strings"
	"testing"
)

const (
	inNAT64 = "it lies in the NAT64 prefix, and the NAT64 drops what comes from there (RFC 6146, 3.5)"
	inWKP   = "lies in 64:ff9b::/96, the well-known NAT64 prefix, from which no NAT64 accepts anything (RFC 6146, 3.5)"
)

// bad is a file and all that is said about it, without "u.toml:" before each line.
var bad = []struct{ text, want string }{
	// Not TOML.
	{"\n\nuplink = eth0", "3: is not TOML: unexpected character U+0065 'e' at start of value (strings need quotes)"},
	{"mode = \"on\"\nmode = \"off\"", "2: is not TOML: key mode is already defined"},
	{`"a\nb" = 1` + "\n" + `"a\nb" = 2`, "2: is not TOML: key a b is already defined"},
	{"[interface\n", "1: is not TOML: expected ']' to close table name"},
	{"\xff\xfe", "1: is not TOML: invalid character at start of key: U+00FF 'ÿ'"},

	// Unknown keys and tables.
	{"foo = 1", "1: foo: unknown key: outside of tables there are mode, uplink, path, inbound"},
	{"name = 'clat0'", "1: name: unknown key: did you mean interface.name?"},
	{"interface.nam = 'x'", "1: interface.nam: unknown key: did you mean interface.name?"},
	{"interface.name.x = 1", "1: interface.name.x: unknown key: [interface] has name, ipv4, self-ipv4, mtu, ipv4-mtu, metric, default-route"},
	{"[interface]\nself_ipv4 = 'x'\nfoo = {a = 1}", `
2: interface.self_ipv4: unknown key: did you mean interface.self-ipv4?
3: interface.foo: unknown key: [interface] has name, ipv4, self-ipv4, mtu, ipv4-mtu, metric, default-route`},
	{"'interface.name' = 'x'", `1: "interface.name": unknown key: did you mean interface.name?`},
	{"pref64.\"a\\nb\" = 1", `1: pref64."a\nb": unknown key: [pref64] has prefixes, sources`},
	{"[intreface]\nname = 1\n[zzz]\nx = 1", `
1: [intreface]: unknown table: did you mean [interface]?
3: [zzz]: unknown table: there are [interface], [pref64], [address], [probe], [translate] and [[map]]`},
	{"[[interface]]\nname = 1", "1: [[interface]]: is one table: write [interface]"},
	{"[[zzz]]", "1: [[zzz]]: unknown table: there are [interface], [pref64], [address], [probe], [translate] and [[map]]"},
	{"[interface.name]", "1: [interface.name]: is no table but a key: write interface.name = ... above all tables"},
	{"interface = 'clat0'", "1: interface: is a table: write [interface], and its keys below"},

	// Wrong types.
	{"mode = 1", "1: mode: 1: is an integer, not a string: put it in quotes"},
	{"uplink = 2020-01-01", "1: uplink: 2020-01-01: is a date or time, not a string: put it in quotes"},
	{"uplink = ['eth0']", "1: uplink: is an array, not a string: give one value"},
	{"address.ipv6 = {a = 1}", "1: address.ipv6: is a table, not a string: give one value"},
	{"interface.mtu = '1500'", `1: interface.mtu: "1500": is a string, not an integer: write a number without quotes`},
	{"interface.mtu = 1.5", "1: interface.mtu: 1.5: is a float, not an integer: write a number without quotes"},
	{"interface.default-route = 1", "1: interface.default-route: 1: is an integer, not a boolean: write true or false without quotes"},
	{"pref64.prefixes = '64:ff9b::/96'", `1: pref64.prefixes: "64:ff9b::/96": is a string, not an array: put it in [ ]`},
	{"pref64.prefixes = [\n'64:ff9b::/96',\n5,\n# here\n'2001:db8::/95', '64:ff9b::/96']", `
3: pref64.prefixes: 5: is an integer, not a string: put it in quotes
5: pref64.prefixes: "2001:db8::/95": length 95 is not one of 32, 40, 48, 56, 64, 96 (RFC 6052, 2.2)
5: pref64.prefixes: "64:ff9b::/96": is there twice`},

	// Words and numbers.
	{"mode = 'atuo'", `1: mode: "atuo": is not one of auto, on, off, force`},
	{"path = 'relay'", `1: path: "relay": is not one of auto, packet, kernel`},
	{"address.dad = 'never'", `1: address.dad: "never": is not one of normal, optimistic`},
	{"probe.targets = ['192.0.0.170']", `1: probe.targets: "192.0.0.170": is an address of ipv4only.arpa, which no host has (RFC 7050, 2.2)`},
	{"probe.targets = ['192.0.0.171']", `1: probe.targets: "192.0.0.171": is an address of ipv4only.arpa, which no host has (RFC 7050, 2.2)`},
	{"probe.targets = ['127.0.0.1']", `1: probe.targets: "127.0.0.1": lies in 127.0.0.0/8, which is loopback`},
	{"path = 'packet'\ninterface.ipv4 = ''\npref64.prefixes = ['2001:db8:64::/96']", `1: path: "packet": does not go with interface.ipv4 "" ` +
		"(u.toml:2): what a plain translator translates is routed to it and from it, by the kernel"},
	{"address = {ipv6 = '2001:db8::46', checksum-neutral = true}", `1: address.checksum-neutral: true: does not go with address.ipv6 ` +
		`"2001:db8::46" (u.toml:1): an address that is given is used as it is: leave one of them out`},
	{"inbound = 'none'", `1: inbound: "none": is not one of replies, all`},
	{"translate.icmp-fragments = 'pass'", `1: translate.icmp-fragments: "pass": is not one of reassemble, drop`},
	{"translate.wkp-non-global = 'drop'", `1: translate.wkp-non-global: "drop": is not one of translate, reject`},
	{"interface.mtu = 1279", "1: interface.mtu: 1279: is out of range: 0 or 1280 to 65535"},
	{"interface.mtu = 65536", "1: interface.mtu: 65536: is out of range: 0 or 1280 to 65535"},
	{"interface.metric = 0", "1: interface.metric: 0: is out of range: 1 to 2147483647"},
	{"translate.traffic-class = 256", `1: translate.traffic-class: 256: is neither "copy" nor a number from 0 to 255`},
	{"translate.traffic-class = -1", `1: translate.traffic-class: -1: is neither "copy" nor a number from 0 to 255`},
	{"translate.traffic-class = true",
		"1: translate.traffic-class: true: is a boolean, not a string or an integer: write a word in quotes, or a number without"},
	{"translate.traffic-class = [0]", "1: translate.traffic-class: is an array, not a string or an integer: give one value"},
	{"translate.traffic-class = 'cpoy'", `1: translate.traffic-class: "cpoy": is neither "copy" nor a number from 0 to 255`},
	{"translate.traffic-class = '256'", `1: translate.traffic-class: "256": is neither "copy" nor a number from 0 to 255`},
	{"translate.traffic-class = '010'", `1: translate.traffic-class: "010": is neither "copy" nor a number from 0 to 255`},
	{"translate.traffic-class = ''", `1: translate.traffic-class: "": is neither "copy" nor a number from 0 to 255`},
	{"translate.clamp-mss = 1360", "1: translate.clamp-mss: 1360: is an integer, not a boolean: write true or false without quotes"},
	{"translate.node-identification = 'on'",
		`1: translate.node-identification: "on": is a string, not a boolean: write true or false without quotes`},
	{"translate.icmp-prohibited = true", "1: translate.icmp-prohibited: unknown key: did you mean translate.icmpv6-prohibited?"},
	{"translate.lowest-ipv6-mtu = 0", `1: translate.lowest-ipv6-mtu: 0: is neither "auto" nor a number from 1280 to 65535`},
	{"translate.lowest-ipv6-mtu = 1279", `1: translate.lowest-ipv6-mtu: 1279: is neither "auto" nor a number from 1280 to 65535`},
	{"translate.lowest-ipv6-mtu = 'path'", `1: translate.lowest-ipv6-mtu: "path": is neither "auto" nor a number from 1280 to 65535`},
	{"translate.lowest-ipv6-mtu = '+1280'", `1: translate.lowest-ipv6-mtu: "+1280": is neither "auto" nor a number from 1280 to 65535`},
	{"translate.lowest-ipv6-mtu = 1280.0",
		"1: translate.lowest-ipv6-mtu: 1280.0: is a float, not a string or an integer: write a word in quotes, or a number without"},
	{"interface.ipv4-mtu = 67", "1: interface.ipv4-mtu: 67: is out of range: 0 or 68 to 65535"},
	{"interface.ipv4-mtu = 65536", "1: interface.ipv4-mtu: 65536: is out of range: 0 or 68 to 65535"},
	{"interface.ipv4-mtu = 'auto'", `1: interface.ipv4-mtu: "auto": is a string, not an integer: write a number without quotes`},
	{"translate.hairpin = 'yes'", `1: translate.hairpin: "yes": is a string, not a boolean: write true or false without quotes`},

	// Names of interfaces.
	{"interface.name = ''", `1: interface.name: "": is no interface name: 1 to 15 octets`},
	{"interface.name = 'sixteen-octets-x'", `1: interface.name: "sixteen-octets-x": is no interface name: 1 to 15 octets`},
	{"interface.name = 'a/b'", `1: interface.name: "a/b": is no interface name: no space and none of / : %`},
	{"interface.name = 'clat%d'", `1: interface.name: "clat%d": is no interface name: no space and none of / : %`},
	{"interface.name = '..'", `1: interface.name: "..": is no interface name: the system means something else by it`},
	{"interface.name = 'all'", `1: interface.name: "all": is no interface name: the system means something else by it`},
	{`uplink = "a\tb"`, `1: uplink: "a\tb": is no interface name: no space and none of / : %`},

	// IPv4 addresses.
	{"interface.ipv4 = '100.64.46.4/24'", `1: interface.ipv4: "100.64.46.4/24": has bits set behind its length: ` +
		"write 100.64.46.4 for the one address or 100.64.46.0/24 for the prefix"},
	{"interface.ipv4 = '0.0.0.0/0'", `1: interface.ipv4: "0.0.0.0/0": covers 0.0.0.0/8, which means this network`},
	{"interface.ipv4 = '127.0.0.1'", `1: interface.ipv4: "127.0.0.1": lies in 127.0.0.0/8, which is loopback`},
	{"interface.ipv4 = '169.254.1.0/24'", `1: interface.ipv4: "169.254.1.0/24": lies in 169.254.0.0/16, which is link-local`},
	{"interface.ipv4 = '224.0.0.1'", `1: interface.ipv4: "224.0.0.1": lies in 224.0.0.0/4, which is multicast`},
	{"interface.ipv4 = '255.255.255.255'", `1: interface.ipv4: "255.255.255.255": lies in 240.0.0.0/4, which is reserved and broadcast`},
	{"interface.ipv4 = 'none'", `1: interface.ipv4: "none": is no IPv4 address or prefix such as 100.64.46.4 or 100.64.0.0/10`},
	{"interface.ipv4 = '::ffff:1.2.3.4'",
		`1: interface.ipv4: "::ffff:1.2.3.4": is no IPv4 address or prefix such as 100.64.46.4 or 100.64.0.0/10`},
	{"interface.self-ipv4 = '100.64.46.5/32'", `1: interface.self-ipv4: "100.64.46.5/32": is no IPv4 address such as 100.64.46.5`},
	{"translate.unmapped-source = 'none'", `1: translate.unmapped-source: "none": ` +
		`is no IPv4 address such as 192.0.0.8, nor "", with which such errors are dropped`},
	{"translate.unmapped-source = '240.0.0.1'",
		`1: translate.unmapped-source: "240.0.0.1": lies in 240.0.0.0/4, which is reserved and broadcast`},

	// NAT64 prefixes and other IPv6 addresses.
	{"pref64.prefixes = ['64:ff9b::/64', '2001:db8::1/96', '2001:db8::ff00:0:0:0/96', 'fe80::/96', '10.0.0.0/8', '2001:db8::']", `
1: pref64.prefixes: "64:ff9b::/64": the well-known prefix exists as 64:ff9b::/96 only (RFC 6052, 2.1)
1: pref64.prefixes: "2001:db8::1/96": has bits set behind its length: write 2001:db8::/96
1: pref64.prefixes: "2001:db8::ff00:0:0:0/96": bits 64 to 71 are not zero (RFC 6052, 2.2)
1: pref64.prefixes: "fe80::/96": lies in fe80::/10, which is link-local
1: pref64.prefixes: "10.0.0.0/8": is no IPv6 prefix
1: pref64.prefixes: "2001:db8::": is no IPv6 prefix such as 64:ff9b::/96`},
	{"address.ipv6 = '2001:db8::46/64'", `1: address.ipv6: "2001:db8::46/64": has bits set behind its length: ` +
		"write 2001:db8::46 for the one address or 2001:db8::/64 for the prefix"},
	{"address.ipv6 = '2001:db8::/60'", `1: address.ipv6: "2001:db8::/60": length 60 is not one of 32, 40, 48, 56, 64, 96 (RFC 6052, 2.2)`},
	{"address.ipv6 = 'fe80::1'", `1: address.ipv6: "fe80::1": lies in fe80::/10, which is link-local`},
	{"address.ipv6 = 'ff02::1'", `1: address.ipv6: "ff02::1": lies in ff00::/8, which is multicast`},
	{"address.ipv6 = '::1'", `1: address.ipv6: "::1": lies in ::/32, which holds the unspecified, loopback and IPv4-mapped addresses`},
	{"address.ipv6 = '64:ff9b::1'", `1: address.ipv6: "64:ff9b::1": ` + inWKP},
	{"address.ipv6 = '2001:db8::1%eth0'",
		`1: address.ipv6: "2001:db8::1%eth0": is no IPv6 address or prefix such as 2001:db8::46 or 2001:db8::/64`},
	{"address.self-ipv6 = '2001:db8::/64'", `1: address.self-ipv6: "2001:db8::/64": is no IPv6 address such as 2001:db8::46`},
	{"address.self-ipv6 = '::'",
		`1: address.self-ipv6: "::": lies in ::/32, which holds the unspecified, loopback and IPv4-mapped addresses`},

	// Mappings.
	{"[map]\nipv4 = ''", "1: [map]: is an array of tables: write [[map]]"},
	{"map.ipv4 = 'x'", "1: map.ipv4: is half of a mapping: write it below [[map]]"},
	{"map = 3", "1: map: is an array of tables: write [[map]], and ipv4 = ... and ipv6 = ... below"},
	{"map = [1]", "1: map: 1: is an integer, not a table with ipv4 and ipv6"},
	{"[[map]]\nipv4 = '192.0.2.1'\n[[map]]\nipv6 = 'x'\nipv4 = '127.0.0.1'\nipv5 = 1", `
1: map: needs both ipv4 and ipv6
4: map.ipv6: "x": is no IPv6 address or prefix such as 2001:db8::46 or 2001:db8::/64
5: map.ipv4: "127.0.0.1": lies in 127.0.0.0/8, which is loopback
6: map.ipv5: unknown key: did you mean map.ipv4?`},
	{"[[map]]\nipv4 = '192.0.2.0/24'\nipv6 = '2001:db8::/121'", `1: map: "192.0.2.0/24=2001:db8::/121": ` +
		"has 7 bits behind the IPv6 prefix for 8 behind the IPv4 prefix: make the IPv6 prefix /120 or shorter (RFC 7757, 3.2)"},
	{"map = [\n{ipv4 = '192.0.2.1', ipv6 = '2001:db8::1'},\n{ipv4 = '192.0.2.1', ipv6 = '2001:db8::2'}," +
		"\n{ipv4 = '192.0.2.2', ipv6 = '2001:db8::1'}]", `
3: map: "192.0.2.1=2001:db8::2": does not go with map "192.0.2.1=2001:db8::1" (u.toml:2): 192.0.2.1/32 is mapped twice
4: map: "192.0.2.2=2001:db8::1": does not go with map "192.0.2.1=2001:db8::1" (u.toml:2): 2001:db8::1/128 is mapped twice`},
	{"map = [{ipv4 = '192.0.2.1', ipv6 = '2001:db8::1'},\n{ipv4 = '192.0.2.1', ipv6 = '2001:db8::1'}]",
		`2: map: "192.0.2.1=2001:db8::1": is there twice`},
}

// atOdds are settings that are right alone and wrong together.
var atOdds = []struct{ text, want string }{
	{"uplink = 'clat0'",
		`1: uplink: "clat0": does not go with interface.name "clat0" (the default): the IPv4 interface cannot be its own uplink`},
	{"interface.ipv4 = '100.64.46.5'", `1: interface.ipv4: "100.64.46.5": does not go with interface.self-ipv4 "100.64.46.5" (the default): ` +
		"they must differ, because a host ignores ICMP errors that seem to come from itself"},
	{"interface.ipv4 = '10.0.0.1'\n\ninterface.self-ipv4 = '10.0.0.1'",
		`3: interface.self-ipv4: "10.0.0.1": does not go with interface.ipv4 "10.0.0.1" (u.toml:1): ` +
			"they must differ, because a host ignores ICMP errors that seem to come from itself"},
	{"interface.ipv4 = '192.0.0.8'", `1: interface.ipv4: "192.0.0.8": does not go with translate.unmapped-source "192.0.0.8" (the default): ` +
		"it must be no address of the hosts that receive these errors"},
	{"interface.mtu = 1400\ntranslate.lowest-ipv6-mtu = 1500",
		"2: translate.lowest-ipv6-mtu: 1500: does not go with interface.mtu 1400 (u.toml:1): it must not be larger"},
	{"interface.ipv4 = '100.64.0.0/10'\naddress.ipv6 = '2001:db8::1'",
		`2: address.ipv6: "2001:db8::1": does not go with interface.ipv4 "100.64.0.0/10" (u.toml:1): ` +
			"one address cannot stand for many: write a prefix of length 32, 40, 48, 56, 64 or 96 (RFC 6052, 2.2)"},
	{"translate.icmp-errors = false\ntranslate.icmpv6-prohibited = true",
		"2: translate.icmpv6-prohibited: true: does not go with translate.icmp-errors false (u.toml:1): without ICMP errors there is no such answer"},
	{"pref64.sources = []",
		`1: pref64.sources: is empty, so that no NAT64 prefix can be found: write at least one of "configured", "ra", "dns"`},
	{"pref64.sources = ['configured']",
		`1: pref64.sources: has nothing but "configured", and pref64.prefixes is empty: write a prefix there, or add "ra" or "dns" here`},
	{"pref64.sources = ['RA', 'dns:eth0', 'ra']", `
1: pref64.sources: "RA": is not one of configured, ra, dns, ra:INTERFACE
1: pref64.sources: "dns:eth0": is not one of configured, ra, dns, ra:INTERFACE`},
	{"pref64.sources = ['ra', 'ra:eth0', 'dns', 'ra', 'ra:eth0']", `
1: pref64.sources: "ra": is there twice
1: pref64.sources: "ra:eth0": is there twice`},
	{"pref64.sources = ['ra:', 'ra:a/b', 'ra:sixteen-octets-x']", `
1: pref64.sources: "ra:": what stands behind ra: is no interface name: 1 to 15 octets
1: pref64.sources: "ra:a/b": what stands behind ra: is no interface name: no space and none of / : %
1: pref64.sources: "ra:sixteen-octets-x": what stands behind ra: is no interface name: 1 to 15 octets`},
	{"pref64.sources = ['ra:eth0', 'ra']\npref64.prefixes = ['64:ff9b::/96']",
		`2: pref64.prefixes: "64:ff9b::/96": does not go with pref64.sources "ra:eth0" (u.toml:1): ` +
			`without "configured" among the sources it is not used`},
	{"interface.ipv4 = ''\npref64.sources = ['ra']\nmap = [{ipv4 = '192.0.2.1', ipv6 = '2001:db8::1'}]",
		`2: pref64.sources: "ra": does not go with interface.ipv4 "" (u.toml:1): ` +
			`a plain translator goes by what is configured alone: add "configured", or leave it out`},
	{"pref64.sources = ['dns']\npref64.prefixes = ['64:ff9b::/96']",
		`2: pref64.prefixes: "64:ff9b::/96": does not go with pref64.sources "dns" (u.toml:1): ` +
			`without "configured" among the sources it is not used`},
	{"pref64.prefixes = ['2001:db8::/32',\n'2001:db8:64::/96']",
		`2: pref64.prefixes: "2001:db8:64::/96": does not go with pref64.prefixes "2001:db8::/32" (u.toml:1): ` +
			"they overlap, and an address would have two meanings"},
	{"pref64.prefixes = ['2001:db8:64::/96']\n[address]\nipv6 = '2001:db8:64::1'\nself-ipv6 = '2001:db8:64::2'", `
3: address.ipv6: "2001:db8:64::1": does not go with pref64.prefixes "2001:db8:64::/96" (u.toml:1): ` + inNAT64 + `
4: address.self-ipv6: "2001:db8:64::2": does not go with pref64.prefixes "2001:db8:64::/96" (u.toml:1): ` + inNAT64},
	{"pref64.prefixes = ['2001:db8:64::/96']\naddress.ipv6 = '2001:db8:64::/64'",
		`2: address.ipv6: "2001:db8:64::/64": does not go with pref64.prefixes "2001:db8:64::/96" (u.toml:1): ` +
			"it covers the NAT64 prefix, and packets to the NAT64 would come back to this host"},
	{"[[map]]\nipv4 = '100.64.46.4/30'\nipv6 = '2001:db8::/64'", `
1: map: "100.64.46.4/30=2001:db8::/64": does not go with interface.ipv4 "100.64.46.4/32" (the default): ` +
		`it would take over what address.ipv6 stands for`},
	{"address.ipv6 = '2001:db8::1'\naddress.self-ipv6 = '2001:db8::2'\n[[map]]\nipv4 = '192.0.2.0/24'\nipv6 = '2001:db8::/64'", `
3: map: "192.0.2.0/24=2001:db8::/64": does not go with address.ipv6 "2001:db8::1" (u.toml:1): ` +
		`it would take over what stands for interface.ipv4
3: map: "192.0.2.0/24=2001:db8::/64": does not go with address.self-ipv6 "2001:db8::2" (u.toml:2): ` +
		`the translator's own address stands for no host`},
	{"pref64.prefixes = ['2001:db8:64::/96']\n[[map]]\nipv4 = '192.0.2.1'\nipv6 = '2001:db8:64::1'",
		`2: map: "192.0.2.1=2001:db8:64::1": does not go with pref64.prefixes "2001:db8:64::/96" (u.toml:1): ` +
			"it lies in the NAT64 prefix, which gives its addresses a meaning already"},
	{"interface.mtu = 1280\ntranslate.lowest-ipv6-mtu = '1281'",
		`2: translate.lowest-ipv6-mtu: "1281": does not go with interface.mtu 1280 (u.toml:1): it must not be larger`},
	{"pref64.prefixes = ['64:ff9b::/96']\naddress.self-ipv6 = '64:ff9b::100.64.46.5'", `2: address.self-ipv6: "64:ff9b::100.64.46.5": ` + inWKP},
	{"interface.self-ipv4 = '192.0.0.8'", `1: interface.self-ipv4: "192.0.0.8": does not go with translate.unmapped-source "192.0.0.8" ` +
		"(the default): they must differ, because it stands for routers, and the translator is none of them"},

	// A plain translator.
	{"\ninterface.ipv4 = ''", `2: interface.ipv4: "": makes this a plain translator, and there is nothing that it could translate by: ` +
		"write pref64.prefixes or a [[map]]"},
	{"interface.ipv4 = ''\npref64.prefixes = ['64:ff9b::/96']\naddress.ipv6 = '2001:db8:1::/64'",
		`3: address.ipv6: "2001:db8:1::/64": does not go with interface.ipv4 "" (u.toml:1): ` +
			"it stands for interface.ipv4, which a plain translator does not have: give each address that is to be translated a [[map]]"},
	{"interface.ipv4 = ''\npref64.prefixes = ['64:ff9b::/96']\naddress.ipv6 = '2001:db8:1::1'",
		`3: address.ipv6: "2001:db8:1::1": does not go with interface.ipv4 "" (u.toml:1): ` +
			"it stands for interface.ipv4, which a plain translator does not have: give each address that is to be translated a [[map]]"},
	{"interface.ipv4 = ''\npref64.sources = ['dns']\nmap = [{ipv4 = '192.0.2.1', ipv6 = '2001:db8::1'}]",
		`2: pref64.sources: "dns": does not go with interface.ipv4 "" (u.toml:1): ` +
			`a plain translator goes by what is configured alone: add "configured", or leave it out`},
	{"interface.ipv4 = ''\npref64.sources = []\npref64.prefixes = ['64:ff9b::/96']",
		`2: pref64.sources: is empty, so that no NAT64 prefix can be found: write at least one of "configured", "ra", "dns"`},
	{"interface.ipv4 = ''\ninbound = 'replies'\nuplink = 'eth0'\npref64.prefixes = ['64:ff9b::/96']", `
2: inbound: "replies": does not go with interface.ipv4 "" (u.toml:1): ` +
		`a plain translator filters nothing: leave it empty, and let the firewall of this host do it
3: uplink: "eth0": does not go with interface.ipv4 "" (u.toml:1): ` +
		`a plain translator has none: the routes of this host say what goes where`},
	{"interface.ipv4 = ''\npref64.prefixes = ['2001:db8:64::/96']\naddress.self-ipv6 = '2001:db8:64::1'",
		`3: address.self-ipv6: "2001:db8:64::1": does not go with pref64.prefixes "2001:db8:64::/96" (u.toml:2): ` +
			"it stands for another address than interface.self-ipv4 there: write 2001:db8:64::6440:2e05, or an address that no prefix holds"},
	{"interface.ipv4 = ''\npref64.prefixes = ['64:ff9b::/96']\naddress.self-ipv6 = '64:ff9b::1'",
		`3: address.self-ipv6: "64:ff9b::1": does not go with pref64.prefixes "64:ff9b::/96" (u.toml:2): ` +
			"it stands for another address than interface.self-ipv4 there: write 64:ff9b::6440:2e05, or an address that no prefix holds"},
	{"interface.ipv4 = ''\npref64.prefixes = ['2001:db8:64::/96']\naddress.self-ipv6 = '64:ff9b::100.64.46.5'",
		`3: address.self-ipv6: "64:ff9b::100.64.46.5": ` + inWKP},
	{"interface.ipv4 = ''\npref64.prefixes = ['64:ff9b::/96']\ntranslate.lowest-ipv6-mtu = 1501",
		`3: translate.lowest-ipv6-mtu: 1501: does not go with interface.mtu 0 (the default): for a plain translator that is 1500, and it must ` +
			"not be larger"},
	{"interface.ipv4 = ''\nmap = [{ipv4 = '192.0.0.0/24', ipv6 = '2001:db8::/120'}]",
		`2: map: "192.0.0.0/24=2001:db8::/120": does not go with translate.unmapped-source "192.0.0.8" (the default): ` +
			"it stands for routers without an IPv4 address, so no host may have it"},
	{"interface.ipv4 = ''\nmap = [{ipv4 = '100.64.46.5', ipv6 = '2001:db8::5'}]",
		`2: map: "100.64.46.5=2001:db8::5": does not go with interface.self-ipv4 "100.64.46.5" (the default): ` +
			"the translator's own address stands for no host"},
}

func TestParseBad(t *testing.T) {
	for _, test := range append(bad, atOdds...) {
		c, err := Parse("u.toml", []byte(test.text))
		want := "u.toml:" + strings.ReplaceAll(strings.TrimPrefix(test.want, "\n"), "\n", "\nu.toml:")
		if err == nil || err.Error() != want || c != nil {
			t.Errorf("%s\ngot  %v\nwant %v", test.text, err, want)
		}
	}
}

func TestParseBadFlag(t *testing.T) {
	for _, test := range []struct {
		text  string
		flags []Flag
		want  string
	}{
		{flags: []Flag{{"mdoe", []string{"on"}}}, want: "--mdoe: is no setting: did you mean --mode?"},
		{flags: []Flag{{"map.ipv4", []string{"x"}}}, want: "--map.ipv4: is no setting: did you mean --interface.ipv4?"},
		{flags: []Flag{{"zzz", []string{"on"}}}, want: "--zzz: is no setting"},
		{flags: []Flag{{"mode", nil}}, want: "--mode: needs a value"},
		{flags: []Flag{{"interface.mtu", []string{"0x500"}}}, want: `--interface.mtu: "0x500": is not a whole number (0 or 1280 to 65535)`},
		{flags: []Flag{{"translate.lowest-ipv6-mtu", []string{"0x500"}}},
			want: `--translate.lowest-ipv6-mtu: "0x500": is neither "auto" nor a number from 1280 to 65535`},
		{flags: []Flag{{"interface.metric", []string{"99999999999999999999"}}},
			want: `--interface.metric: "99999999999999999999": is out of range: 1 to 2147483647`},
		{flags: []Flag{{"interface.default-route", []string{"1"}}}, want: `--interface.default-route: "1": is not one of true, false`},
		{flags: []Flag{{"uplink", []string{strings.Repeat("x", 100)}}},
			want: `--uplink: "` + strings.Repeat("x", 80) + `"...: is no interface name: 1 to 15 octets`},
		{
			flags: []Flag{{"pref64.prefixes", []string{"2001:db8::/95", "x", "64:ff9b::/96"}}},
			want: `--pref64.prefixes: "2001:db8::/95": length 95 is not one of 32, 40, 48, 56, 64, 96 (RFC 6052, 2.2)
--pref64.prefixes: "x": is no IPv6 prefix such as 64:ff9b::/96`,
		},
		{
			flags: []Flag{{"map", []string{"192.0.2.1", "192.0.2.1=y", "y\n=2001:db8::1", "192.0.2.0/24=2001:db8::/121"}}},
			want: `--map: "192.0.2.1": is no mapping such as 192.0.2.1=2001:db8::1
--map: "192.0.2.1=y": "y" is no IPv6 address or prefix such as 2001:db8::46 or 2001:db8::/64
--map: "y\n=2001:db8::1": "y\n" is no IPv4 address or prefix such as 100.64.46.4 or 100.64.0.0/10
--map: "192.0.2.0/24=2001:db8::/121": has 7 bits behind the IPv6 prefix for 8 behind the IPv4 prefix: ` +
				"make the IPv6 prefix /120 or shorter (RFC 7757, 3.2)",
		},
		{
			text:  "mode = 'x'\nfoo = 1",
			flags: []Flag{{"path", []string{"x"}}, {"mode", []string{"on"}}},
			want: `u.toml:1: mode: "x": is not one of auto, on, off, force
u.toml:2: foo: unknown key: outside of tables there are mode, uplink, path, inbound
--path: "x": is not one of auto, packet, kernel`,
		},
		{
			text:  "\npref64.prefixes = ['2001:db8:64::/96']",
			flags: []Flag{{"address.ipv6", []string{"2001:db8:64::1"}}},
			want: `--address.ipv6: "2001:db8:64::1": does not go with pref64.prefixes "2001:db8:64::/96" (u.toml:2): ` +
				inNAT64,
		},
		{
			flags: []Flag{{"interface.self-ipv4", []string{"100.64.46.4"}}},
			want: `--interface.self-ipv4: "100.64.46.4": does not go with interface.ipv4 "100.64.46.4/32" (the default): ` +
				"they must differ, because a host ignores ICMP errors that seem to come from itself",
		},
	} {
		c, err := Parse("u.toml", []byte(test.text), test.flags...)
		if err == nil || err.Error() != test.want || c != nil {
			t.Errorf("%v\ngot  %v\nwant %v", test.flags, err, test.want)
		}
	}
}
