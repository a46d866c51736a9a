package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"uclat/clat"
	"uclat/clat/datapath"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/pref64"
	"uclat/clat/siit"
	"uclat/platform/tundev"
)

// platTUN is the PLAT's device.
const platTUN = "nat64"

// plat is the role of the provider's NAT64: the same translator, run the other way with a pool of IPv4 addresses. It reports when its
// device is there.
func plat(ctx context.Context, _ json.RawMessage, report func(any) error) error {
	tun, err := tundev.Open(platTUN, linkMTU)
	if err != nil {
		return err
	}
	defer tun.Close()
	p := &pool{Port: tun, next: platPool.Addr().Next(), known: map[[16]byte]struct{}{}}
	first, err := p.translator()
	if err != nil {
		return err
	}
	p.engine = datapath.New(first)
	if err := report("ready"); err != nil {
		return err
	}
	return p.engine.Run(ctx, []datapath.Lane{{In: p, V6: tun, V4: tun}})
}

// pool gives each IPv6 source that it sees for the first time the next IPv4 address. When there is none left, later sources are
// dropped as unmapped.
type pool struct {
	datapath.Port
	engine   *datapath.Engine
	next     netip.Addr
	known    map[[16]byte]struct{}
	mappings []eam.Mapping
}

// Read looks at each packet before the engine does.
func (p *pool) Read(fs []*frame.Frame) (int, error) {
	n, err := p.Port.Read(fs)
	for _, f := range fs[:n] {
		b := f.Bytes()
		if f.Version() != 6 || len(b) < 40 || !prefix64.Contains([16]byte(b[24:40])) || prefix64.Contains([16]byte(b[8:24])) {
			continue
		}
		src := [16]byte(b[8:24])
		if _, ok := p.known[src]; ok || !p.hasRoom() {
			continue
		}
		if err := p.add(src); err != nil {
			return 0, err
		}
	}
	return n, err
}

// hasRoom is false when only the PLAT's own address, the pool's last, is left.
func (p *pool) hasRoom() bool { return platPool.Contains(p.next) && p.next != platErrors4 }

func (p *pool) add(src [16]byte) error {
	p.known[src] = struct{}{}
	p.mappings = append(p.mappings, eam.Mapping{
		IPv4: netip.PrefixFrom(p.next, 32), IPv6: netip.PrefixFrom(netip.AddrFrom16(src), 128),
	})
	p.next = p.next.Next()
	t, err := p.translator()
	if err != nil {
		return fmt.Errorf("a new client of the PLAT: %w", err)
	}
	p.engine.Swap(t)
	return nil
}

func (p *pool) translator() (*siit.Translator, error) {
	m, err := eam.New(eam.Spec{Role: eam.PLAT, Ours: p.mappings, PREF64: []pref64.Prefix{prefix64}, Self4: platErrors4})
	if err != nil {
		return nil, err
	}
	return siit.New(m, siit.Options{
		MTU6: linkMTU, MTU4: linkMTU, LowestMTU6: clat.MinMTU6, Self4: platErrors4, Self6: platErrors6,
		UnmappedSource: netip.MustParseAddr("192.0.0.8"), Reassemble: true,
	})
}
