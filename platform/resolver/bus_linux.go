package resolver

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"
)

// limit is for all that is asked by D-Bus. The services answer within milliseconds, and one that hangs must not hold up the rest.
const limit = time.Second

// A manager is a service that knows the resolvers by link. What it does not answer is not there.
type manager struct {
	name string
	ask  func(context.Context, *dbus.Conn, link) known
}

// known is what a manager knows.
type known struct {
	own    []netip.AddrPort // of the link that was asked for
	others []netip.Addr     // of other links and of VPNs, and not of the system as a whole; link-local ones aside, which are told by their zone
}

var managers = [...]manager{{"systemd-resolved", resolved}, {"NetworkManager", networkManager}}

// managed is what the first manager says that has resolvers for the link. If none has, it is what they know of other links.
func managed(ctx context.Context, l link) (own Servers, others []netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx)) // to the address of DBUS_SYSTEM_BUS_ADDRESS, if that is set
	if err != nil {
		return Servers{}, nil // no bus, no services
	}
	defer conn.Close()
	for _, m := range managers {
		ctx, cancel := context.WithTimeout(ctx, limit/time.Duration(len(managers)))
		k := m.ask(ctx, conn, l)
		cancel()
		if len(k.own) > 0 {
			return Servers{k.own, m.name}, nil
		}
		others = append(others, k.others...)
	}
	return Servers{}, others
}

// call asks an object for a value. A service that is not running is not started.
func call[T any](ctx context.Context, o dbus.BusObject, method string, args ...any) (value T, ok bool) {
	ok = o.CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...).Store(&value) == nil
	return value, ok
}

// property is one of an object, if it has it and it is of the type that T stands for.
func property[T any](ctx context.Context, o dbus.BusObject, face, name string) (value T, ok bool) {
	v, ok := call[dbus.Variant](ctx, o, "org.freedesktop.DBus.Properties.Get", face, name)
	if !ok {
		return value, false
	}
	return as[T](v)
}

// as is a value of D-Bus in Go, if it has the very type that T stands for.
func as[T any](v dbus.Variant) (value T, ok bool) {
	if v.Signature() != dbus.SignatureOf(value) {
		return value, false
	}
	ok = v.Store(&value) == nil
	return value, ok
}

// unicast is an address of 4 or 16 octets, if it can be a resolver's elsewhere than on the host itself.
func unicast(octets []byte) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(octets)
	a = a.Unmap()
	return a, ok && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast()
}

// foreign are the addresses of other links that are not common ones too.
func foreign(others, common []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(others, func(a netip.Addr) bool {
		return a.Is6() && a.IsLinkLocalUnicast() || slices.Contains(common, a)
	})
}
