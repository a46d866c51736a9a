package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestDocker has a container behind the laptop, with what Docker makes for it. It reaches the IPv4 internet as the laptop does, and is told
// what does not fit. From there nobody reaches the port that it has published, unless the laptop lets in all.
func TestDocker(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	c := top.addContainer(t)
	stranger := top.addStranger(t)
	top.startRole(t, c, "server", serverOptions{Addr: container.Addr()})
	before := dump(t, top.laptop)
	for _, inbound := range []string{"replies", "all"} {
		t.Run(inbound, func(t *testing.T) {
			p := top.up(t, top.configured("--inbound", inbound)...)
			must(t, c, peers.Find(t, "ping"), "-c", "2", "-i", "0.1", "-W", "2", server4.String())
			top.download(t, c, 2_000_000)
			top.upload(t, c, 2_000_000)
			if err := c.SetSysctl("net.ipv4.route.flush", "1"); err != nil {
				t.Fatal(err)
			}
			r := try(t, c, peers.Find(t, "ping"), "-M", "do", "-c", "1", "-W", "2", "-s", "1472", server4.String())
			if !strings.Contains(r.stdout, "Frag needed and DF set (mtu = 1480)") {
				t.Errorf("1500 octets with DF: %+v", r)
			}
			r = try(t, top.plat, peers.Find(t, "nc"), "-z", "-v", "-w", "1", "-s", stranger.String(), top.addr6, fmt.Sprint(portPublished))
			if reached := r.code == 0; reached != (inbound == "all") {
				t.Errorf("the published port is reached: %v, %s", reached, r.stderr)
			}
			down(t, p, syscall.SIGTERM)
			top.unchanged(t, before)
		})
	}
}

// What Docker makes by default.
var (
	docker0   = netip.MustParsePrefix("172.17.0.1/16")
	container = netip.MustParsePrefix("172.17.0.2/16")
)

// portPublished is the laptop's TCP port that leads to the container's portHTTP.
const portPublished = 8080

// dockerRules are Docker's in the terms of nftables.
const dockerRules = `table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat
		fib daddr type local tcp dport 8080 dnat to 172.17.0.2:80
	}
	chain postrouting {
		type nat hook postrouting priority srcnat
		ip saddr 172.17.0.0/16 oifname != docker0 masquerade
	}
}
table ip filter {
	chain forward {
		type filter hook forward priority filter; policy drop
		oifname docker0 ct state established,related accept
		oifname docker0 ip daddr 172.17.0.2 tcp dport 80 accept
		iifname docker0 accept
	}
}
`

// addContainer has a host behind a bridge of the laptop's, hidden behind the laptop's IPv4 address whatever that is, and one of its ports
// published.
func (top *topology) addContainer(t *testing.T) *netlab.Node {
	t.Helper()
	n, err := top.lab.Node("container", netlab.NodeOptions{NoDAD: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		top.laptop.AddBridge("docker0"),
		top.laptop.AddAddr("docker0", docker0),
		netlab.Connect(n, "eth0", top.laptop, "veth0", netlab.LinkOptions{}),
		top.laptop.AddPort("docker0", "veth0"),
		n.AddAddr("eth0", container),
		n.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: docker0.Addr()}),
		top.laptop.SetSysctl("net.ipv4.ip_forward", "1"),
	); err != nil {
		t.Fatal(err)
	}
	if r := tryInput(t, top.laptop, dockerRules, peers.Find(t, "nft"), "-f", "-"); r.code != 0 {
		t.Fatalf("nft: %+v", r)
	}
	// The laptop's state is still once these addresses are no longer being checked.
	for _, dev := range []string{"docker0", "veth0"} {
		if _, err := top.laptop.WaitAddr(t.Context(), dev, netip.MustParsePrefix("fe80::/10")); err != nil {
			t.Fatal(err)
		}
	}
	return n
}
