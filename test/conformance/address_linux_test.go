package conformance

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
)

// arrival is how long a packet may take. It does so within a millisecond.
const arrival = 10 * time.Second

func TestHostFirewall(t *testing.T) {
	t.Run("XLAT-6052-5.3-1", func(t *testing.T) {
		n := newNetwork(t, 1)
		n.translate(t)
		if err := n.uplink.file.SetReadDeadline(time.Now().Add(arrival)); err != nil {
			t.Fatal(err)
		}
		const port = 4660
		good, evil := netip.MustParseAddr("198.51.100.5"), netip.MustParseAddr("198.51.100.66")
		var socket *net.UDPConn
		n.do(t, func() (err error) {
			socket, err = net.ListenUDP("udp4", &net.UDPAddr{IP: client4, Port: port})
			return err
		})
		t.Cleanup(func() { socket.Close() })
		if err := socket.SetReadDeadline(time.Now().Add(arrival)); err != nil {
			t.Fatal(err)
		}
		// Each sends to the other: what the application sends leaves as IPv6, and the answer comes as IPv4.
		out := func(peer netip.Addr) error {
			_, err := socket.WriteToUDPAddrPort([]byte("there"), netip.AddrPortFrom(peer, 53))
			return err
		}
		back := func(peer netip.Addr) {
			t.Helper()
			answer := &layers.UDP{SrcPort: 53, DstPort: port}
			n.uplink.send(t, build(t, &layers.IPv6{SrcIP: wellKnown(peer.AsSlice())}, answer, payload([]byte("back"))))
		}
		left := func(peer netip.Addr) {
			t.Helper()
			decode(t, n.uplink.receive(t).octets).fromTo(t, client6, wellKnown(peer.AsSlice()))
		}
		came := func(peer netip.Addr) {
			t.Helper()
			if _, from, err := socket.ReadFromUDPAddrPort(make([]byte, 100)); err != nil || from.Addr() != peer {
				t.Errorf("from %v, %v; want something from %v", from, err, peer)
			}
		}
		for _, peer := range []netip.Addr{evil, good} {
			if err := out(peer); err != nil {
				t.Fatal(err)
			}
			left(peer)
			back(peer)
			came(peer)
		}

		// The rules know IPv4 only. Both ways the evil one comes first, and would have been seen before the good one.
		count := n.block(t, evil)
		if err := out(evil); err == nil {
			t.Error("the application was not told that its packet is forbidden")
		}
		if err := out(good); err != nil {
			t.Fatal(err)
		}
		left(good)
		back(evil)
		back(good)
		came(good)
		if got := count(t); got != [clat.NumDirections]uint64{1, 1} {
			t.Errorf("the rules met %d packets, want one each", got)
		}
	})
}

// block has the host's IPv4 firewall drop what goes to and comes from an address. It returns how to ask for the packets dropped, in
// these two directions.
func (n *network) block(t *testing.T, evil netip.Addr) (count func(testing.TB) [clat.NumDirections]uint64) {
	t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.ns)))
	if err != nil {
		t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4})
	var chains [clat.NumDirections]*nftables.Chain
	for d, c := range []struct {
		name string
		hook *nftables.ChainHook
		at   uint32 // of the address in the IPv4 header
	}{{"output", nftables.ChainHookOutput, 16}, {"input", nftables.ChainHookInput, 12}} {
		chains[d] = conn.AddChain(&nftables.Chain{
			Name: c.name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: c.hook, Priority: nftables.ChainPriorityFilter,
		})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chains[d], Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: c.at, Len: 4},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: evil.AsSlice()},
			&expr.Counter{},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return func(t testing.TB) (packets [clat.NumDirections]uint64) {
		t.Helper()
		for d, chain := range chains {
			rules, err := conn.GetRules(table, chain)
			if err != nil || len(rules) != 1 {
				t.Fatalf("%d rules, %v", len(rules), err)
			}
			for _, e := range rules[0].Exprs {
				if c, ok := e.(*expr.Counter); ok {
					packets[d] = c.Packets
				}
			}
		}
		return packets
	}
}
