package ra

import (
	"net/netip"

	"github.com/mdlayher/ndp"

	"uclat/clat/pref64"
	"uclat/discovery"
)

const (
	minMTU = 1280       // RFC 8200, 5
	maxMTU = 40 + 65535 // of packets that are no jumbograms (RFC 2675, 1)
)

// decode reads one option, behind the header of a Router Advertisement that holds nothing else: the library refuses a whole message for one
// option that it cannot read (RFC 8781, 4, RFC 8106, 5.3.1 and others want that one to be ignored).
func decode(option []byte) (ndp.Option, bool) {
	b := make([]byte, advertisementLen, advertisementLen+len(option))
	b[0] = typeAdvertisement
	m, err := ndp.ParseMessage(append(b, option...))
	if err != nil {
		return nil, false
	}
	ra, ok := m.(*ndp.RouterAdvertisement)
	if !ok || len(ra.Options) != 1 {
		return nil, false
	}
	return ra.Options[0], true
}

// read takes in an option, which is of the length that it says.
func read(ad *discovery.Advertisement, option []byte) {
	o, ok := decode(option)
	if !ok {
		return
	}
	switch o := o.(type) {
	case *ndp.LinkLayerAddress:
		if ad.Hardware == "" && o.Direction == ndp.Source {
			ad.Hardware = hardware(o)
		}
	case *ndp.PrefixInformation:
		if p := netip.PrefixFrom(o.Prefix, int(o.PrefixLength)); p.IsValid() && len(ad.Prefixes) < maxPrefixes {
			ad.Prefixes = append(ad.Prefixes, discovery.PrefixInfo{
				Prefix: p, OnLink: o.OnLink, Autonomous: o.AutonomousAddressConfiguration, Valid: o.ValidLifetime, Preferred: o.PreferredLifetime,
			})
		}
	case *ndp.MTU:
		if ad.MTU == 0 && len(option) == 8 && o.MTU >= minMTU && o.MTU <= maxMTU { // the library takes longer ones, too
			ad.MTU = int(o.MTU)
		}
	case *ndp.RecursiveDNSServer:
		servers := resolvers(o)
		ad.Servers = append(ad.Servers, servers[:min(len(servers), maxServers-len(ad.Servers))]...)
	case *ndp.PREF64:
		// What RFC 6052 has no prefix for is as bad as an unknown length. A lifetime of 0 is told: it withdraws the prefix.
		if p, err := pref64.From(o.Prefix); err == nil && len(ad.PREF64) < maxPREF64 {
			ad.PREF64 = append(ad.PREF64, discovery.Offer{Prefix: p, Lifetime: o.Lifetime})
		}
	}
}

// resolvers leaves out addresses that cannot be those of a resolver on the network.
func resolvers(o *ndp.RecursiveDNSServer) (servers []discovery.Resolver) {
	for _, a := range o.Servers {
		if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.Is4In6() {
			continue
		}
		servers = append(servers, discovery.Resolver{Addr: a, Lifetime: o.Lifetime})
	}
	return servers
}

// hardware is empty where it is no address of one station on Ethernet.
func hardware(o *ndp.LinkLayerAddress) string {
	if len(o.Addr) != 6 || o.Addr[0]&1 != 0 || [6]byte(o.Addr) == [6]byte{} {
		return ""
	}
	return o.Addr.String()
}
