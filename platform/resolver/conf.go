package resolver

import (
	"bytes"
	"net/netip"
	"slices"
)

// parse reads the nameserver lines of a resolv.conf(5), in their order and each address once. Unlike the C library it takes more than
// three. Lines that are anything else, comments (# and ;) and what is no unicast address are passed over.
func parse(conf []byte) []netip.AddrPort {
	var servers []netip.AddrPort
	for line := range bytes.Lines(conf) {
		// The first field decides, so a line that begins with a comment needs no care; one behind the address is not looked at.
		fields := bytes.Fields(line)
		if len(fields) < 2 || string(fields[0]) != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(string(fields[1]))
		if err != nil || a.IsMulticast() {
			continue
		}
		if s := netip.AddrPortFrom(a.Unmap(), port); !slices.Contains(servers, s) {
			servers = append(servers, s)
		}
	}
	return servers
}

// stubs are the addresses at which systemd-resolved listens on the host itself (systemd-resolved.service(8)).
var stubs = [...]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 53}), netip.AddrFrom4([4]byte{127, 0, 0, 54})}

// onlyStub says whether systemd-resolved stands before the resolvers of the network, and nothing else is named.
func onlyStub(servers []netip.AddrPort) bool {
	for _, s := range servers {
		if !slices.Contains(stubs[:], s.Addr()) {
			return false
		}
	}
	return len(servers) > 0
}
