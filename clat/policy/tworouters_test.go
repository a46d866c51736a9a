package policy

import "testing"

// A network's router drops what comes from another one's prefix: the source goes with the router that announced the PREF64 (RFC 6724, 5, rule 5.5).
func TestGenerationsOfTwoRouters(t *testing.T) {
	const (
		saysA = "announced eth0 fe80::1 2001:db8:1::/64\n"
		saysB = "route eth0 ::/0 via fe80::2\nannounced eth0 fe80::2 2001:db8:2::/64\n"
		both  = one + two + saysA + saysB

		deprecatesA = "announced eth0 fe80::1 2001:db8:1::/64 preferred -1h\n"
	)
	tell(t, "", []moment{
		{what: "the first router has a PREF64, so its prefix is the one", host: both, pref64: "P@r1", want: "try a0"},
		{what: "it works", trials: "a0 seen", want: "4 a0 P"},
		{what: "a PREF64 of the second one goes before: it is not used from the prefix of the first, though that works here", pref64: "Q@r2 P@dns",
			trials: "a0.6 seen", want: "4 a0 P try b0.6"},
		{what: "unless its own does not work", trials: "b0.6 silent, b1.6 silent", want: "6 a0.6 Q (4 a0 P) try b0.7"},
		{what: "it does after all", trials: "b0.7 seen", want: "7 b0.7 Q (6 a0.6 Q) (4 a0 P)"},
	})
	tell(t, "", []moment{
		{what: "the second router has a PREF64, so its prefix is the one", host: both, pref64: "Q@r2", want: "try b0"},
		{what: "it works", trials: "b0 seen", want: "4 b0 Q"},
		{what: "the first gets one, too: what is in use is held", pref64: "P@r1 Q@r2", want: "4 b0 Q"},
		{what: "the second withdraws its own: that of the first at once, and from the address that works", pref64: "P@r1", want: "4 b0 P try a0"},
		{what: "until one of the first one's prefix does", trials: "a0 seen", want: "4 a0 P"},
		{what: "the second names the PREF64 of the first", pref64: "P@r1 P@r2", want: "4 a0 P"},
		{what: "and the first does no more, as if the network were another: what was sent to it is lost", pref64: "P@r2", trials: "b0 probing",
			want: "4 a0 P try b0"},
		{what: "and answers come back to the prefix of the second", trials: "b0 seen", want: "4 b0 P"},
		{what: "the first does again: it is as good as the one in use", pref64: "P@r1 P@r2", want: "4 b0 P"},
		{what: "by hand", pref64: "W P@r1 P@r2", trials: "a0.6 seen", want: "6 a0.6 W (4 b0 P)"},
		{what: "the old pair was the second one's: its connections are lost, and its sockets go where all go", pref64: "W P@r1", want: "6 a0.6 W (4 b0 W)"},
	})
	tell(t, "", []moment{
		{what: "by DNS", host: both, pref64: "R@dns", trials: "a0 seen, a0.6 seen", want: "4 a0 R"},
		{what: "by the first router", pref64: "P@r1 R@dns", want: "6 a0.6 P (4 a0 R)"},
		{what: "the second has another, which is better: addresses of its prefix are tried, for new connections and in place of what died",
			pref64: "Q@r2 P@dns", want: "6 a0.6 P (4 a0 Q) try b0 try b0.7"},
		{what: "one is enough", trials: "b0 seen", want: "4 b0 Q (6 a0.6 P)"},
	})
	tell(t, "", []moment{
		{what: "both have the same PREF64, so both prefixes are good", host: both, pref64: "P@r1 P@r2", trials: "a0 seen", want: "4 a0 P"},
		{what: "the first deprecates its own", host: oldA + two + deprecatesA + saysB, trials: "b0.6 seen", want: "6 b0.6 P (4 a0 P)"},
		{what: "the second is gone, and its prefix with it", host: oldA + deprecatesA, pref64: "P@r1", want: "4 a0 P (6 - P) try a0.6"},
		{what: "what is bound to the other lives on by the prefix that is left", trials: "a0.6 seen", want: "4 a0 P (6 a0.6 P)"},
	})
}

// Each generation goes by the routers that announced its PREF64.
func TestGenerationsGoByTheirRouters(t *testing.T) {
	s := &story{}
	s.look(t, moment{host: one + "route eth0 ::/0 via fe80::2\n", pref64: "W@r2 W@r1 P@dns", trials: "a0 seen, a0.6 seen", want: "4 a0 W"})
	if got := s.plan.Try[0].Routers; len(got) != 2 || got[0] != s.plan.Generations[0].Routers[0] {
		t.Errorf("W goes by %v", got)
	}
	p := s.look(t, moment{pref64: "P W@r1", want: "6 a0.6 P (4 a0 W)"})
	for i, want := range []struct{ routers int }{{0}, {1}} {
		if h, g := p.Try[i], p.Generations[i]; len(h.Routers) != want.routers || len(g.Routers) != want.routers || h.PREF64 != g.PREF64 || h.Addrs != g.IPv6 {
			t.Errorf("hold %+v of generation %+v", h, g)
		}
	}
}

// Of several who say the same one is named, always the same one, and packets go by all in one order.
func TestOrigin(t *testing.T) {
	s := &story{}
	const routers = "route eth0 ::/0 via fe80::2\n"
	for _, m := range []struct{ pref64, want string }{
		{"P@r2 P@r1 P@dns", "from router fe80::1 by RA"},
		{"P@r1 P@r2 P@dns", "from router fe80::1 by RA"},
		{"P@r2 P@dns", "from router fe80::2 by RA"},
		{"P@r1 P@r2 P@dns", "from router fe80::2 by RA"},
		{"P@dns", "from resolver 2001:db8::53 by RFC 7050"},
		{"P@r1 P@dns", "from router fe80::1 by RA"}, // which is the better source
	} {
		p := s.look(t, moment{host: one + routers, pref64: m.pref64, trials: "a0 seen", want: "4 a0 P"})
		if p.Origin != m.want {
			t.Errorf("%s: %s, want %s", m.pref64, p.Origin, m.want)
		}
	}
}
