package resolver

import (
	"context"
	"net/netip"

	"github.com/godbus/dbus/v5"
)

// The names of NetworkManager's D-Bus interfaces are the paths of its objects too, with slashes.
const (
	nm           = "org.freedesktop.NetworkManager"
	nmDevice     = nm + ".Device"
	nmIP6        = nm + ".IP6Config"
	nmIP4        = nm + ".IP4Config"
	nmDNSManager = nm + ".DnsManager"
)

// dictionary is what NetworkManager says of one thing, by its words.
type dictionary = map[string]dbus.Variant

// networkManager asks NetworkManager. A VPN's resolvers are none of the device's that carries it, even where the VPN has none of its own.
func networkManager(ctx context.Context, conn *dbus.Conn, l link) known {
	manager := conn.Object(nm, "/org/freedesktop/NetworkManager")
	if path, ok := call[dbus.ObjectPath](ctx, manager, nm+".GetDeviceByIpIface", l.name); ok {
		device := conn.Object(nm, path)
		var own []netip.AddrPort
		if path, ok := property[dbus.ObjectPath](ctx, device, nmDevice, "Ip6Config"); ok {
			servers, _ := property[[][]byte](ctx, conn.Object(nm, path), nmIP6, "Nameservers")
			own = l.named6(own, servers)
		}
		if path, ok := property[dbus.ObjectPath](ctx, device, nmDevice, "Ip4Config"); ok {
			servers, _ := property[[]dictionary](ctx, conn.Object(nm, path), nmIP4, "NameserverData")
			own = l.named4(own, servers)
		}
		if len(own) > 0 {
			return known{own: own}
		}
	}
	all, _ := property[[]dictionary](ctx, conn.Object(nm, "/org/freedesktop/NetworkManager/DnsManager"), nmDNSManager, "Configuration")
	return known{others: l.unnamed(all)}
}

func (l link) named6(own []netip.AddrPort, servers [][]byte) []netip.AddrPort {
	for _, octets := range servers {
		if a, ok := unicast(octets); ok {
			own = l.add(own, a, port)
		}
	}
	return own
}

func (l link) named4(own []netip.AddrPort, servers []dictionary) []netip.AddrPort {
	for _, s := range servers {
		text, _ := as[string](s["address"])
		if a, ok := written(text); ok {
			own = l.add(own, a, port)
		}
	}
	return own
}

// unnamed are the addresses of resolvers that are other links' alone, or a VPN's.
func (l link) unnamed(all []dictionary) []netip.Addr {
	var others, common []netip.Addr
	for _, d := range all {
		servers, _ := as[[]string](d["nameservers"])
		face, _ := as[string](d["interface"])
		vpn, _ := as[bool](d["vpn"])
		for _, s := range servers {
			a, ok := written(s)
			switch {
			case !ok:
			case vpn, face != "" && face != l.name:
				others = append(others, a)
			default:
				common = append(common, a)
			}
		}
	}
	return foreign(others, common)
}

// written is unicast of an address in letters. A zone is not looked at.
func written(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, false
	}
	return unicast(a.AsSlice())
}
