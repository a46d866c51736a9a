package netlab

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

// TestBridge has two hosts on a bridge, which reach each other by it, also when one gets another link-layer address.
func TestBridge(t *testing.T) {
	_, nodes := newLab(t, "alpha", "beta", "switch")
	a, b, sw := nodes[0], nodes[1], nodes[2]
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	if err := errors.Join(
		Connect(a, "eth0", sw, "port0", LinkOptions{}),
		Connect(b, "eth0", sw, "port1", LinkOptions{}),
		a.AddAddr("eth0", netip.MustParsePrefix("2001:db8::1/64")),
		b.AddAddr("eth0", netip.MustParsePrefix("2001:db8::2/64")),
		b.SetHardwareAddr("eth0", mac),
	); err != nil {
		t.Fatal(err)
	}
	if got, err := b.HardwareAddr("eth0"); err != nil || got.String() != mac.String() {
		t.Errorf("address of eth0 is %s, %v", got, err)
	}
	echo, err := b.Role(t.Context(), "echo", "[2001:db8::2]:7")
	if err != nil {
		t.Fatal(err)
	}
	var text string
	if err := echo.Next(&text); err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		role, err := a.Role(t.Context(), "ask", "[2001:db8::2]:7")
		if err != nil {
			t.Fatal(err)
		}
		return errors.Join(role.Next(&text), role.Stop())
	}
	if err := ask(); err == nil {
		t.Error("an answer comes before there is a bridge")
	}
	if err := errors.Join(sw.AddBridge("br0", "port0"), sw.AddPort("br0", "port1"), ask(), echo.Stop()); err != nil {
		t.Error(err)
	}
	if err := sw.AddPort("br0", "port7"); err == nil {
		t.Error("an interface that is not there became a port")
	}
}
