package main

// Where the faults of discovery are.
const (
	routerMessage = "discovery/ra/parse.go"
	routerOption  = "discovery/ra/option.go"
	routerRound   = "discovery/ra/round.go"
	knownPREF64   = "discovery/set.go"
	finder        = "discovery/dns/dns.go"
	lookup        = "discovery/dns/lookup.go"
	exchange      = "discovery/dns/exchange.go"
	rounds        = "discovery/dns/rounds.go"
	dnsMessage    = "discovery/dns/message.go"
	dnsPrefixes   = "discovery/dns/prefixes.go"
	trust         = "clat/policy/offers.go"
	generations   = "clat/policy/generation.go"
	configValue   = "clat/config/value.go"
)

var advertisementFaults = []fault{
	{"DISC-8781-4-1", routerMessage, `		read(&ad, option)
`, `		if _, ok := decode(option); !ok {
			return discovery.Advertisement{}, errOption
		}
		read(&ad, option)
`, "one bad option spoils the message"},
	{"DISC-8781-4-1", routerOption, `err == nil && len(ad.PREF64) < maxPREF64`, `err == nil && p.Bits() != 40 && len(ad.PREF64) < maxPREF64`,
		"length 40 is forgotten"},
	{"DISC-8781-4.1-1", routerOption, `discovery.Offer{Prefix: p, Lifetime: o.Lifetime}`, `discovery.Offer{Prefix: p, Lifetime: o.Lifetime / 8}`,
		"units of 8 seconds are taken for seconds"},
	{"DISC-8781-4.1-1", routerOption, `discovery.Offer{Prefix: p, Lifetime: o.Lifetime}`,
		`discovery.Offer{Prefix: p, Lifetime: min(o.Lifetime, 9000e9)}`, "the most of a Router Lifetime is the most"},
	{"DISC-8781-4.1-2", knownPREF64, `said = slices.Delete(said, i, i+1)`, `_ = i`, "lifetime 0 is not heard"},
	{"DISC-8781-5-1", knownPREF64, `min(offer.Lifetime, maxLifetime)`, `max(offer.Lifetime, 24*time.Hour)`, "lifetimes are a day at least"},
	{"DISC-8781-5-1", knownPREF64, `said = slices.Clone(before)`, `said = nil`, "an RA that leaves a prefix out withdraws it"},
	{"DISC-8781-5-1", knownPREF64, `cmp.Compare(a.arrival, b.arrival), longest`, `cmp.Compare(b.arrival, a.arrival), longest`,
		"the last of several is used"},
	{"DISC-8781-5-1", decision, `	for _, k := range in.PREF64 {
		add(k.Prefix)
	}
`, ``, "traffic is accepted from the first only"},
	{"DISC-8781-5.1-1", knownPREF64, `cmp.Compare(a.Source, b.Source)`, `cmp.Compare(b.Source, a.Source)`, "DNS goes before RA"},
	{"DISC-8781-5.1-1", generations, `k.Source == best.Source && `, ``, "the prefix in use is held though a better source names another"},
	{"DISC-8781-5.1-2", trust, `(k.Link == 0 || k.Link == link.Index) && `, ``, "the prefix of one link is used on all"},
	{"DISC-8781-D1", trust, `isGlobal6(a.Prefix.Addr()) && k.Prefix.Prefix().Contains(a.Prefix.Addr())`, `false`,
		"a prefix that holds the host is used"},
	{"DISC-8781-D1", prefix, `	{netip.MustParsePrefix("ff00::/8"), "which is multicast"},
`, ``, "a multicast prefix is used"},
	{"DISC-8781-D1", prefix, `netip.MustParsePrefix("::/32"), "which`, `netip.MustParsePrefix("::/128"), "which`, "::ffff:0:0/96 is used"},
	{"DISC-8781-D1", routerOption, `p, err := pref64.From(o.Prefix); err == nil`,
		`p, err := pref64.From(o.Prefix); (err == nil || o.Prefix.Addr().IsLinkLocalUnicast())`,
		"a link-local prefix stands among the good ones"},
	{"DISC-4861-6.1.2", routerMessage, `hopLimit != hopLimitOnLink`, `hopLimit == 0`, "a router may have forwarded it"},
	{"DISC-4861-6.1.2", routerMessage, `!linkLocal.Contains(from.WithZone(""))`, `from.IsUnspecified()`, "anybody may have sent it"},
	{"DISC-4861-6.1.2", routerMessage, `!linkLocal.Contains(from.WithZone(""))`, `from.IsGlobalUnicast()`, "nobody may have sent it"},
	{"DISC-4861-6.1.2", routerMessage, `case b[1] != 0:`, `case b[1] > 1:`, "code 1 passes"},
	{"DISC-4861-6.1.2", routerMessage, `case b[0] != typeAdvertisement:`, `case b[0] < typeAdvertisement:`, "another type passes"},
	{"DISC-4861-6.1.2", routerMessage, `return ad, errShort`, `return discovery.Advertisement{Router: from}, nil`, "a short one passes"},
	{"DISC-4861-6.1.2", routerMessage, `return discovery.Advertisement{}, errOption`, `return ad, nil`,
		"what stands before an option without a length counts"},
	{"DISC-8781-D2", trust, `case r.Via == router:`, `case router.IsValid():`, "any router is believed where the host has one"},
	{"DISC-8781-D2", trust, `if r.Link == link && r.Dst.Addr().Is6() && r.Dst.Bits() == 0 {`,
		`if r.Link == link && r.Dst.Addr().Is6() && r.Dst.Bits() == 0 && r.FromRA {`, "the host's own default route does not count"},
	{"DISC-9872-1", routerRound, `solicitationInterval = 4 * time.Second`, `solicitationInterval = time.Second`,
		"routers are asked each second"},
	{"DISC-9872-1", routerRound, `maxSolicitations     = 3`, `maxSolicitations     = 10`, "routers are asked ten times"},
	{"DISC-9872-1", routerRound, `r.done = r.done || r.sent > 0 && fromDefaultRouter`, `r.done = false`,
		"routers are asked though one has answered"},
	{"DISC-9872-1", generations, `k.Source == best.Source && `, ``, "what DNS said first is held"},
}

var resolverFaults = []fault{
	{"DISC-7050-3-1", dnsMessage, `RecursionDesired: true`, `RecursionDesired: false`, "recursion is not asked for"},
	{"DISC-7050-3-1", dnsMessage, `RecursionDesired: true`, `RecursionDesired: true, CheckingDisabled: true`, "CD is set"},
	{"DISC-7050-3-1", dnsMessage, `ipv4only  = "ipv4only.arpa."`, `ipv4only  = "ipv4only.arpa.example."`,
		"a domain of the search list is behind it"},
	{"DISC-8880-7.1-1", lookup, `	if len(all) == 0 {
`, `	if true {
`, "the system's resolvers are asked instead of the link's"},
	{"DISC-8880-7.1-1", lookup, `a.WithZone(strconv.Itoa(link.Index))`, `a.WithZone(strconv.Itoa(link.Index + 1))`,
		"a link-local resolver is looked for on another link"},
	{"DISC-8880-7.1-1", lookup, ` && !a.IsLoopback()`, ``, "the host itself is asked"},
	{"DISC-8880-7.1-1", trust, `r.Link != link.Index || in.refused(link, r.Addr, r.Hardware) != ""`, `r.Link != link.Index`,
		"anybody on the link may name resolvers"},
	{"DISC-8880-7.1-2", dnsMessage, `	r := reply{rcode: h.RCode, ttl: -1}
`, `	if !h.AuthenticData {
		return reply{}, errForeign
	}
	r := reply{rcode: h.RCode, ttl: -1}
`, "what was not validated does not count"},
	{"DISC-8880-7.1-2", dnsMessage, `if err := p.SkipAnswer(); err != nil {`, `if err := p.SkipAnswer(); err == nil || err != nil {
				err = errForeign
`, "a signature that is not checked spoils the answer"},
	{"DISC-7050-3-2", dnsPrefixes, `s.count == 1 && len(s.prefixes) == 1`, `len(s.prefixes) >= 1`, "an ambiguous record tells a prefix"},
	{"DISC-7050-3-2", dnsPrefixes, `len(confirmed) == 1`, `len(confirmed) > 1`, "the other address does not settle it"},
	{"DISC-7050-3-2", dnsPrefixes, `{0xc00000aa, 0xc00000ab}`, `{0xc00000aa, 0xc00000ac}`, "192.0.0.171 is another address"},
	{"DISC-7050-3-2", dnsPrefixes, `		if n == 8 {
			continue
		}
`, ``, "octet 8 is not skipped"},
	{"DISC-7050-3-3", knownPREF64, `if st.Source == source && st.Link == link && st.Prefix == p {`, `if false {`,
		"the order of the records moves traffic"},
	{"DISC-7050-3-3", dnsPrefixes, `prefixes = append(prefixes, p)`, `prefixes = []pref64.Prefix{p}`, "one prefix of an answer is known"},
	{"DISC-7050-3-4", rounds, `refreshBefore = 10 * time.Second`, `refreshBefore = time.Second`, "the query comes late"},
	{"DISC-7050-3-4", lookup, `minLifetime      = 30 * time.Second`, `minLifetime      = 15 * time.Second`,
		"the least lifetime is 15 seconds"},
	{"DISC-7050-3-4", lookup, `maxLifetime      = 24 * time.Hour`, `maxLifetime      = 240 * time.Hour`, "a TTL may be ten days"},
	{"DISC-7050-3-4", dnsMessage, `min(seconds(h.TTL), seconds(soa.MinTTL))`, `seconds(h.TTL) + 0*seconds(soa.MinTTL)`,
		"the SOA's MINIMUM does not count"},
	{"DISC-7050-3-4", dnsMessage, `min(seconds(h.TTL), seconds(soa.MinTTL))`, `seconds(soa.MinTTL)`, "the SOA's TTL does not count"},
	{"DISC-7050-3-4", dnsMessage, `d = min(d, have)`, `d = max(d, have)`, "the greatest TTL counts"},
	{"DISC-7050-3-4", exchange, `tries      = 3`, `tries      = 1`, "a silent resolver is asked once"},
	{"DISC-7050-3-4", exchange, `udpTimeout = 2 * time.Second`, `udpTimeout = 5 * time.Second`, "it is waited for too long"},
	{"DISC-7050-3-4", lookup, `a.Err = fmt.Errorf("%w: it says that ipv4only.arpa does not exist (NXDOMAIN)", ErrNoDNS64)`,
		`return Answer{Err: errForeign}`, "NXDOMAIN is a failure"},
	{"DISC-7050-3.2-1", tries, `a.usable = a.degraded || t.State == Seen`, `a.usable = t.State == Seen`,
		"nothing is on where nothing answers"},
	{"DISC-7050-3.2-1", generations, `return known && (!other || `, `return known && (true || `, "a black hole gives way to nobody"},
	{"DISC-7050-3.2-2", configValue, `(a == arpa4[0] || a == arpa4[1])`, `a == arpa4[0]`, "192.0.0.171 may be probed"},
	{"DISC-7050-6", trust, `case !slices.Contains(c.PREF64.Sources, config.SourceDNS):`, `case false:`, "the setting has no effect"},
	{"DISC-7050-6", finder, `		if wanted[key] == nil {
			j.stop()
`, `		if wanted[key] == nil {
			_ = j.stop
`, "a link that is gone is asked on"},
}

var useFaults = []fault{
	{"CLATON-8-1", generations, `k.Link == link.Index && k.Prefix == p &&`, `k.Link == link.Index &&`,
		"packets go to any router that announces one"},
	{"CLATON-8-1", generations, `PREF64: g.PREF64, Routers: g.Routers})`, `PREF64: t.best.Prefix, Routers: t.all[0].Routers})`,
		"packets of old pairs go by the new router"},
	{"CLATON-8-1", generations, `len(both) > 0`, `false`, "packets go by a router whose network does not know our address"},
	{"CLATON-8-1", generations, `return len(g.Routers) > 0 && len(routers) > 0 &&`, `return false &&`,
		"the address of another router's network is used on, where the PREF64 is not any more"},
	{"CLATON-8-1", madeAddress, `		compareBool(a.ofRouter, b.ofRouter),
`, ``, "the address may be of another router's prefix"},
	{"CLATON-DIS", knownPREF64, `return st.Until.IsZero() || now.Before(st.Until)`, `return st.Until.IsZero() || !now.After(st.Until)`,
		"the lifetime ends a moment late"},
	{"CLATON-DIS", knownPREF64, `said = slices.Delete(said, i, i+1)`, `_ = i`, "lifetime 0 is not heard"},
	{"CLATON-DIS", pauses, `case p.Path == config.PathPacket && !slices`, `case false && !slices`, "the address is given up"},
	{"CLATON-DIS", pauses, `MTU: was.Host.MTU}`, `MTU: was.Host.MTU, Routes: was.Host.Routes}`, "the default route stays"},
	{"CLATON-DIS", pauses, `in.Now.Sub(p.Paused) < lingering`, `true`, "the device stays for ever"},
}
