package e2e

import (
	"net/netip"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestClients has clients behind the laptop, each with an IPv4 address of its own: an IPv6 prefix stands for all of them, and an explicit
// mapping for one.
func TestClients(t *testing.T) {
	t.Parallel()
	top := newTopology(t)
	client := top.addClient(t)
	for _, c := range []struct {
		name, addr6, mapping string
		clients              [][2]string // IPv4, and the IPv6 address that the network sees
	}{
		{"prefix of 96 bits, and one client that stands elsewhere", "2001:db8:c1a7::/96", "100.64.7.10=2001:db8:c1a7:0:1::7",
			[][2]string{{"100.64.7.9", "2001:db8:c1a7::6440:709"}, {"100.64.7.10", "2001:db8:c1a7:0:1::7"}}},
		{"prefix of 64 bits, and a client with an address of its own", "2001:db8:c1a7::/64", "192.0.2.7=2001:db8:c1a7::7",
			[][2]string{{"100.64.7.9", "2001:db8:c1a7:0:64:4007:900:0"}, {"192.0.2.7", "2001:db8:c1a7::7"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := dump(t, top.laptop)
			p := top.up(t, "--interface.ipv4", "100.64.0.0/10", "--address.ipv6", c.addr6, "--map", c.mapping)
			for _, a := range c.clients {
				seen := startCapture(t, top.laptop, "eth0", "ip6 src host "+a[1])
				curl := []string{"-sS", "--fail", "--max-time", "10", "--interface", a[0], top.url(1_000_000)}
				checkBlob(t, must(t, client, peers.Find(t, "curl"), curl...), 1_000_000)
				must(t, client, peers.Find(t, "ping"), "-c", "1", "-W", "2", "-I", a[0], server4.String())
				if len(seen.frames(t)) == 0 {
					t.Errorf("%s did not leave as %s", a[0], a[1])
				}
			}
			down(t, p, syscall.SIGTERM)
			top.unchanged(t, before)
		})
	}
}

// addClient puts a host with several IPv4 addresses behind the laptop.
func (top *topology) addClient(t *testing.T) *netlab.Node {
	t.Helper()
	client, err := top.lab.Node("client", netlab.NodeOptions{NoDAD: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := netlab.Connect(client, "eth0", top.laptop, "lan0", netlab.LinkOptions{}); err != nil {
		t.Fatal(err)
	}
	gateway := netip.MustParsePrefix("169.254.1.1/32")
	top.setSysctl(t, "net/ipv4/ip_forward", "1")
	steps := []error{top.laptop.AddAddr("lan0", gateway), client.AddRoute(netlab.Route{Dst: gateway, Dev: "eth0"}),
		client.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: gateway.Addr(), Dev: "eth0"})}
	for _, addr := range []string{"100.64.7.9/32", "100.64.7.10/32", "192.0.2.7/32"} {
		p := netip.MustParsePrefix(addr)
		steps = append(steps, client.AddAddr("eth0", p), top.laptop.AddRoute(netlab.Route{Dst: p, Dev: "lan0"}))
	}
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
	// The laptop's state is still once this address is no longer being checked.
	if _, err := top.laptop.WaitAddr(t.Context(), "lan0", netip.MustParsePrefix("fe80::/10")); err != nil {
		t.Fatal(err)
	}
	return client
}
