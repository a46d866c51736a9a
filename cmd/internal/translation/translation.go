// Package translation makes the translator that a configuration and a plan describe.
package translation

import (
	"fmt"

	"uclat/clat/config"
	"uclat/clat/eam"
	"uclat/clat/policy"
	"uclat/clat/siit"
)

// Table maps the addresses that c names, as plan has it: its generations, and the NAT64 prefixes that hold now, the one in use first.
func Table(c *config.Config, plan policy.Plan) (*eam.Table, error) {
	s := eam.Spec{
		PREF64: plan.PREF64, Elsewhere: plan.Elsewhere, Here: plan.Here, Self4: c.Interface.SelfIPv4,
		RejectNonGlobal: c.Translate.WKPNonGlobal == config.ActionReject,
	}
	if c.Router() {
		s.Role = eam.Router
	}
	for _, g := range plan.Generations {
		if g.IPv6.IsValid() {
			s.Ours = append(s.Ours, eam.Mapping{IPv4: g.IPv4, IPv6: g.IPv6, PREF64: g.PREF64, Embed: !g.IPv4.IsSingleIP()})
		}
	}
	for _, m := range c.Maps {
		s.Map = append(s.Map, eam.Mapping{IPv4: m.IPv4, IPv6: m.IPv6})
	}
	t, err := eam.New(s)
	if err != nil {
		return nil, fmt.Errorf("address mapping: %w", err)
	}
	return t, nil
}

// New is the translator that plan needs.
func New(c *config.Config, plan policy.Plan) (*siit.Translator, error) {
	m, err := Table(c, plan)
	if err != nil {
		return nil, err
	}
	lowest := plan.MTU6
	if c.Translate.LowestIPv6MTU != 0 {
		lowest = min(c.Translate.LowestIPv6MTU, plan.MTU6)
	}
	t, err := siit.New(m, siit.Options{
		MTU6: plan.MTU6, MTU4: plan.MTU4, LowestMTU6: lowest,
		Self4: c.Interface.SelfIPv4, Self6: plan.Self6,
		UnmappedSource: c.Translate.UnmappedSource, NodeID: c.Translate.NodeIdentification,
		TTLTransparent: c.Translate.TTLTransparent,
		SetTOS:         c.Translate.TrafficClass.Fixed, TOS: c.Translate.TrafficClass.Octet,
		ClampMSS:     c.Translate.ClampMSS,
		DropZeroUDP4: c.Translate.UDPZeroChecksum == config.ActionDrop,
		PassZeroUDP6: c.Translate.UDP6ZeroChecksum == config.ActionPass,
		Reassemble:   c.Translate.ICMPFragments == config.ActionReassemble,
		Hairpin:      c.Translate.Hairpin,
		NoErrors:     !c.Translate.ICMPErrors, Prohibited6: c.Translate.ICMPv6Prohibited,
	})
	if err != nil {
		return nil, fmt.Errorf("translator: %w", err)
	}
	return t, nil
}
