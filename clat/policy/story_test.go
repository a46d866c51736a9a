package policy

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uclat/clat/pref64"
)

// Short names of what the stories are about: prefixes of the uplink, PREF64s, and who names them. "a0" is 2001:db8:1::/64#0, "a0.6" is that
// for 100.64.46.6, and "W@dns" is 64:ff9b::/96 as the resolver told it.
var (
	prefixNames = map[string]string{"a": "2001:db8:1::/64", "b": "2001:db8:2::/64", "c": "2001:db8:3::/64", "u": "fd00:1::/64"}
	pref64Names = map[string]string{"P": "2001:db8:64::/96", "Q": "2001:db8:65::/96", "R": "2001:db8:66::/96", "S": "2001:db8:67::/96",
		"T": "2001:db8:6800::/40", "V": "2001:db8::/32", "W": wkp}
	originNames = map[string]string{"r1": "fe80::1", "r2": "fe80::2", "rogue": "fe80::66", "dns": "2001:db8::53"}
)

// moment is what changes at one time of a story. What is empty stays as it was, and "-" is nothing.
type moment struct {
	after   time.Duration // since the last one
	what    string
	lan     string // in place of lan
	host    string // lines for seen, beside that
	pref64  string // "W@dns P@r1"
	suspect string // "P Q"
	trials  string // "a0 seen, b0.6 silent no answer": how far they have come; the others are as far as they were
	used    string // "4 6": which of 100.64.46.0/29 are in use now
	want    string // generations, the current one first, as "4 a0 W", with an old one in parentheses; then what is tried as "try b0.6"
}

// story follows an Input from moment to moment: what was decided is in force at the next.
type story struct {
	config string
	now    moment // all that holds
	at     time.Duration
	trials map[string]string
	used   map[netip.Addr]time.Time
	plan   Plan
}

func (s *story) look(t *testing.T, m moment) Plan {
	t.Helper()
	s.at += m.after
	for _, one := range []struct{ now, then *string }{
		{&s.now.lan, &m.lan}, {&s.now.host, &m.host}, {&s.now.pref64, &m.pref64}, {&s.now.suspect, &m.suspect},
	} {
		if *one.then != "" {
			*one.now = strings.TrimPrefix(*one.then, "-")
		}
	}
	if s.trials == nil {
		s.trials, s.used = map[string]string{}, map[netip.Addr]time.Time{}
	}
	for one := range strings.SplitSeq(m.trials, ", ") {
		if name, state, ok := strings.Cut(one, " "); ok {
			s.trials[name] = state
		}
	}
	for n := range strings.FieldsSeq(m.used) {
		s.used[netip.MustParseAddr("100.64.46."+n)] = noon.Add(s.at)
	}
	in := s.input(t)
	before := fmt.Sprintf("%+v", in)
	p := Decide(in)
	if after := fmt.Sprintf("%+v", in); after != before {
		t.Errorf("what was seen is changed\nfrom %s\nto   %s", before, after)
	}
	checkWhole(t, in, p)
	again := in
	again.Was = p
	if q := Decide(again); !reflect.DeepEqual(p, q) {
		t.Errorf("when the plan is in force, and nothing else changes, it is another one (-first +second)\n%s", cmp.Diff(p, q, plain))
	}
	s.plan = p
	if got := generationsText(in, p); got != m.want {
		t.Errorf("got  %s\nwant %s\n%s: %s", got, m.want, p.Code, withNames(in, p.Why))
	}
	return p
}

func (s *story) input(t *testing.T) Input {
	t.Helper()
	var lines, words []string
	for name, state := range s.trials {
		if state != "gone" {
			lines = append(lines, "trial eth0 "+longName(name)+" "+state+"\n")
		}
	}
	slices.Sort(lines)
	for word := range strings.FieldsSeq(s.now.pref64) {
		prefix, origin, learned := strings.Cut(word, "@")
		if learned {
			origin = "@" + originNames[origin]
		}
		words = append(words, pref64Names[prefix]+origin)
	}
	if s.now.lan == "" {
		s.now.lan = lan
	}
	in := seen(t, s.config, s.now.lan+s.now.host+"\n"+strings.Join(lines, ""), strings.Join(words, " "))
	in.Now, in.Used, in.Was = noon.Add(s.at), s.used, s.plan
	for name := range strings.FieldsSeq(s.now.suspect) {
		in.Suspect = append(in.Suspect, pref64.MustParse(pref64Names[name]))
	}
	return in
}

// longName is the name of an address as seen reads it.
func longName(short string) string {
	if p, ok := prefixNames[short[:1]]; ok && len(short) > 1 && short[1] < '4' {
		return p + "#" + short[1:]
	}
	return short
}

// generationsText is the generations as a moment has them.
func generationsText(in Input, p Plan) string {
	var pairs []string
	for short, long := range prefixNames {
		pairs = append(pairs, long+"#", short)
	}
	for short, long := range pref64Names {
		pairs = append(pairs, long, short)
	}
	var all []string
	for i, g := range p.Generations {
		address := "-"
		if g.IPv6.IsValid() {
			address = shortPrefix(g.IPv6)
		}
		text := strings.TrimPrefix(shortPrefix(g.IPv4), "100.64.46.") + " " + address
		if g.PREF64.IsValid() {
			text += " " + g.PREF64.String()
		}
		if i > 0 {
			text = "(" + text + ")"
		}
		all = append(all, text)
	}
	for _, h := range p.Try {
		if !slices.ContainsFunc(p.Generations, func(g Generation) bool { return g.IPv6 == h.Addrs }) {
			all = append(all, "try "+shortPrefix(h.Addrs))
		}
	}
	return strings.NewReplacer(pairs...).Replace(withNames(in, strings.Join(all, " ")))
}

// tell goes through a story from its beginning.
func tell(t *testing.T, config string, moments []moment) {
	t.Helper()
	s := &story{config: config}
	for i, m := range moments {
		t.Run(fmt.Sprintf("%d %s", i, m.what), func(t *testing.T) { s.look(t, m) })
	}
}
