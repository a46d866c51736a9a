package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"uclat/clat/config"
	"uclat/discovery"
	"uclat/platform"
)

// Whatever is seen, a plan is whole, it is the same for the same input, and it uses no address that it must not use. Inputs are made of few
// values, so that they meet, and of values that no host has.
func TestDecideAnything(t *testing.T) {
	configs := []*config.Config{
		parse(t, ""), parse(t, "mode = 'on'"), parse(t, "mode = 'force'\naddress.checksum-neutral = true"), parse(t, "uplink = 'eth1'"),
		parse(t, "path = 'packet'\ninterface.mtu = 1400"), parse(t, "path = 'kernel'"), parse(t, "address.ipv6 = '2001:db8:1::46'"),
		parse(t, "address.ipv6 = '2001:db8:2::/64'"), parse(t, "path = 'packet'\naddress.ipv6 = '2001:db8:c1a7::/64'\ninterface.ipv4 = '100.64.0.0/10'"),
		parse(t, "path = 'packet'\ninterface.ipv4 = '100.64.0.0/10'"), parse(t, "path = 'kernel'\naddress.ipv6 = '2001:db8:c1a7::46'"),
	}
	codes := map[string]int{}
	var was Plan // of another host, with another configuration: whatever was in force
	for seed := range uint64(3000) {
		r := random{rand.New(rand.NewPCG(seed, 1))}
		in := r.input(configs)
		in.Was = was
		before := fmt.Sprint(in)
		p := Decide(in)
		if after := fmt.Sprint(in); after != before {
			t.Errorf("what was seen is changed\nfrom %s\nto   %s", before, after)
		}
		codes[p.Code]++
		checkAnything(t, in, p)
		// An uplink goes on with what is to be tried.
		for range 100 {
			if p.On || !p.Tries() {
				break
			}
			one := Trial{Link: p.Uplink.Index, Addr: p.Try[0].Addrs.Addr(), State: Probing + TrialState(r.IntN(4))}
			in.Trials = append([]Trial{one}, in.Trials...)
			in.Was = p
			p = Decide(in)
			codes[p.Code]++
			checkAnything(t, in, p)
		}
		if was = p; !p.On && p.Tries() {
			t.Errorf("seed %d: it never ends: %s", seed, p.Why)
		}
		if t.Failed() {
			t.Fatalf("seed %d: %+v\n%+v", seed, in, p)
		}
	}
	for _, code := range []string{"on", "degraded", "checking-address", "probing", "duplicate-address", "asking-routers", "one-address",
		"no-ipv6-address", "no-uplink", "native-ipv4", "no-pref64", "no-address", "mtu", "ipv6-in-use"} {
		if codes[code] < 10 {
			t.Errorf("%s came %d times: this test does not see enough", code, codes[code])
		}
	}
}

func checkAnything(t *testing.T, in Input, p Plan) {
	t.Helper()
	if p.Code == "no-address" {
		return
	}
	checkWhole(t, in, p)
	if !reflect.DeepEqual(p, Decide(in)) {
		t.Error("the same input, another plan")
	}
	if in.Config.Address.IPv6.IsValid() {
		return
	}
	for _, h := range p.Try {
		checkMade(t, in, p, h.Addrs.Addr())
	}
}

// checkMade holds an address that was made to where one may be.
func checkMade(t *testing.T, in Input, p Plan, a netip.Addr) {
	t.Helper()
	network := netip.PrefixFrom(a, 64).Masked()
	var announced, autonomous, ofHost bool
	for _, x := range in.Announced {
		if x.Link == p.Uplink.Index && x.Prefix == network && !in.isStrange(x) {
			announced, autonomous = true, autonomous || x.Autonomous
		}
	}
	for _, x := range in.Host.Addrs {
		ofHost = ofHost || x.Link == p.Uplink.Index && x.Prefix.Masked() == network && !x.Tentative && (x.Autoconf || x.Permanent)
		if x.Prefix.Addr() == a {
			t.Errorf("%v is an address of the host", a)
		}
	}
	switch {
	case announced && !autonomous:
		t.Errorf("%v, though %v is announced with A=0", a, network)
	case !announced && !ofHost:
		t.Errorf("%v, and nothing says that %v is on %s", a, network, p.Uplink.Name)
	case !a.IsGlobalUnicast() || reservedIdentifier(identifier(a)):
		t.Errorf("%v is no address for a host", a)
	}
	for _, known := range p.PREF64 {
		if known.Contains(a.As16()) {
			t.Errorf("%v lies in the PREF64 %v", a, known)
		}
	}
	if !p.Uplink.Up || p.Uplink.Name == in.Config.Interface.Name {
		t.Errorf("%v on %+v", a, p.Uplink)
	}
}

type random struct{ *rand.Rand }

func (r random) often() bool  { return r.IntN(8) > 0 }
func (r random) seldom() bool { return r.IntN(8) == 0 }

func pick[T any](r random, of ...T) T { return of[r.IntN(len(of))] }

func (r random) prefix() netip.Prefix {
	if r.seldom() {
		return pick(r, netip.Prefix{}, netip.MustParsePrefix("::/0"), netip.MustParsePrefix("::/64"), netip.MustParsePrefix("fe80::/64"),
			netip.MustParsePrefix("ff02::/64"), netip.MustParsePrefix("64:ff9b::/64"), netip.MustParsePrefix("2001:db8:1::/48"),
			netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("2001:db8:c1a7::/64"))
	}
	return pick(r, netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParsePrefix("2001:db8:2::/64"), netip.MustParsePrefix("fd00:1::/64"))
}

func (r random) address(bits int) netip.Addr {
	p := r.prefix()
	switch {
	case !p.IsValid() || p.Addr().Is4() || bits < 0:
		return p.Addr()
	case r.seldom():
		return pick(r, netip.MustParseAddr("2001:db8:1::46"), netip.MustParseAddr("2001:db8:c1a7::46"), netip.MustParseAddr("2001:db8:2:0:64:402e:400:0"))
	}
	b := p.Addr().As16()
	b[15] = byte(1 + r.IntN(3))
	return netip.AddrFrom16(b)
}

func (r random) input(configs []*config.Config) Input {
	in := Input{Config: pick(r, configs...), Now: noon, Secret: secret, Heard: map[int]discovery.Heard{}}
	if r.often() {
		in.PREF64 = known(pick(r, wkp, wkp, "2001:db8:64::/96@2001:db8::53 "+wkp, "2001:db8::/32@2001:db8::53", "2001:db8:64::/64", "fd00:64::/96"))
	}
	s := &in.Host
	for i := range 1 + r.IntN(4) {
		mtu := pick(r, 1500, 1500, 1500, 1280, 9000, 65536)
		if r.seldom() {
			mtu = pick(r, 1279, 0, -1)
		}
		s.Links = append(s.Links, platform.Link{Index: i + 1, Name: []string{"eth0", "eth1", "wg0", "clat0"}[i], MTU: mtu, MTU6: mtu,
			Up: r.often(), L2: i < 2 && r.often()})
	}
	link := func() int { return 1 + r.IntN(len(s.Links)+r.IntN(2)) } // or one that is gone
	for range r.IntN(6) {
		bits := pick(r, 64, 64, 64, 64, 128, 80, -1)
		s.Addrs = append(s.Addrs, platform.Address{Link: link(), Prefix: netip.PrefixFrom(r.address(bits), bits), Tentative: r.seldom(),
			Deprecated: r.IntN(3) == 0, Permanent: r.IntN(2) == 0, Autoconf: r.IntN(2) == 0})
	}
	for i := range s.Links {
		if r.IntN(2) == 0 {
			s.Addrs = append(s.Addrs, platform.Address{Link: i + 1, Prefix: netip.MustParsePrefix("fe80::5/64")})
		}
		if r.often() {
			s.Routes = append(s.Routes, platform.Route{Link: i + 1, Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Via: r.router(),
				Metric: r.IntN(3)})
		}
		in.Heard[i+1] = pick(r, discovery.Unknown, discovery.Silent, discovery.Advertised)
	}
	for range r.IntN(4) / 3 {
		s.Routes = append(s.Routes, platform.Route{Link: link(), Dst: pick(r, netip.MustParsePrefix("0.0.0.0/0"), netip.Prefix{}, r.prefix())})
	}
	for range r.IntN(5) {
		p := r.prefix()
		s.Routes4 = append(s.Routes4, platform.Route4{Link: link(), Dst: p})
		in.Announced = append(in.Announced, discovery.Announced{Link: link(), Router: r.router(), Prefix: p, Autonomous: r.IntN(3) > 0,
			Preferred: pick(r, time.Time{}, noon, noon.Add(time.Hour))})
	}
	s.Forwarding6 = r.seldom()
	for range r.IntN(6) {
		l, _ := s.Link(link())
		in.Trials = append(in.Trials, Trial{Link: l.Index, State: TrialState(r.IntN(6)), Addr: pick(r, netip.Addr{}, r.address(64),
			makeAddress(secret, netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::/64", 1+r.IntN(2))), l.Name, r.IntN(4)))})
	}
	return in
}

func (r random) router() netip.Addr {
	return pick(r, netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2"), netip.Addr{})
}
