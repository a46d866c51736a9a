package config

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"uclat/clat/pref64"
)

var plain = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, pref64.Prefix{})

func defaults() *Config {
	c := Default()
	return &c
}

func TestDefault(t *testing.T) {
	want := Config{
		Mode: ModeAuto,
		Path: PathAuto,
		Interface: Interface{
			Name:         "clat0",
			IPv4:         netip.MustParsePrefix("100.64.46.4/32"),
			SelfIPv4:     netip.MustParseAddr("100.64.46.5"),
			Metric:       2000000,
			DefaultRoute: true,
		},
		PREF64:  PREF64{Sources: []Source{SourceConfigured, SourceRA, SourceDNS}},
		Address: Address{DAD: DADNormal},
		Translate: Translate{
			WKPNonGlobal:       ActionTranslate,
			Hairpin:            true,
			LowestIPv6MTU:      1280,
			UDPZeroChecksum:    ActionCompute,
			UDP6ZeroChecksum:   ActionDrop,
			ICMPFragments:      ActionReassemble,
			UnmappedSource:     netip.MustParseAddr("192.0.0.8"),
			NodeIdentification: true,
			ICMPErrors:         true,
		},
	}
	if diff := cmp.Diff(want, Default(), plain); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	empty, err := Parse("empty.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, empty, plain); diff != "" {
		t.Errorf("empty file (-want +got)\n%s", diff)
	}
}

// TestDefaultIsNotShared changes one Default and looks at the next.
func TestDefaultIsNotShared(t *testing.T) {
	c := Default()
	c.PREF64.Sources[0] = "changed"
	if got := Default().PREF64.Sources[0]; got != SourceConfigured {
		t.Errorf("the next default has source %q", got)
	}
}

func TestReferenceChangesNothing(t *testing.T) {
	c, err := Parse("reference.toml", []byte(Reference))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(defaults(), c, plain); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestReferenceShowsDefaults(t *testing.T) {
	text := regexp.MustCompile(`(?m)^#([a-z])`).ReplaceAllString(Reference, "$1")
	b := builder{config: Default(), given: map[string]setting{}}
	readTOML(&b, "reference.toml", []byte(text))
	b.check()
	if len(b.errs) > 0 {
		t.Fatal(b.joined())
	}
	if diff := cmp.Diff(Default(), b.config, plain); diff != "" {
		t.Errorf("(-default +reference)\n%s", diff)
	}
	line := 0
	for _, k := range Keys() {
		if k.Name == mapKey {
			continue
		}
		s, ok := b.given[k.Name]
		if !ok {
			t.Errorf("%s is not in the reference file", k.Name)
		}
		if s.line < line {
			t.Errorf("%s comes earlier in the reference file than in Keys", k.Name)
		}
		line = s.line
	}
}

// TestReferenceExample reads what the prose shows, indented, as an example.
func TestReferenceExample(t *testing.T) {
	var example strings.Builder
	for line := range strings.Lines(Reference) {
		if rest, ok := strings.CutPrefix(line, "#   "); ok && (strings.HasPrefix(rest, "[") || strings.Contains(rest, " = ")) {
			example.WriteString(rest)
		}
	}
	c, err := Parse("example", []byte(example.String()))
	if err != nil {
		t.Fatal(err)
	}
	want := []Map{{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::1/128")}}
	if diff := cmp.Diff(want, c.Maps, plain); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Keys() {
		if seen[k.Name] {
			t.Errorf("%s is there twice", k.Name)
		}
		seen[k.Name] = true
		if k.Doc == "" || strings.HasSuffix(k.Doc, ".") || strings.Contains(k.Doc, "\n") {
			t.Errorf("%s: help is to be one line without full stop: %q", k.Name, k.Doc)
		}
	}
	for name, want := range map[string]Key{
		"mode":           {Kind: String, Default: "auto"},
		"interface.mtu":  {Kind: Integer, Default: "0"},
		"pref64.sources": {Kind: String, List: true, Default: "configured,ra,dns"},
		"map":            {Kind: String, List: true},

		"translate.lowest-ipv6-mtu": {Kind: Mixed, Default: "1280"},
	} {
		got := findKey(name).Key
		want.Name, want.Doc = name, got.Doc
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if got := String.String() + Integer.String() + Boolean.String() + Mixed.String(); got != "stringintegerbooleanword|number" {
		t.Errorf("kinds are called %s", got)
	}
}

// TestEveryKeyIsAFlag sets each key to its own default by a flag.
func TestEveryKeyIsAFlag(t *testing.T) {
	for _, k := range keys {
		if k.List && k.Default == "" {
			continue
		}
		c, err := Parse("", nil, Flag{k.Name, k.defaults()})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if diff := cmp.Diff(defaults(), c, plain); diff != "" {
			t.Errorf("--%s %s (-want +got)\n%s", k.Name, k.Default, diff)
		}
	}
}

func TestHost(t *testing.T) {
	c := Default()
	if addr, ok := c.Interface.Host(); !ok || addr != netip.MustParseAddr("100.64.46.4") {
		t.Errorf("got %v, %v", addr, ok)
	}
	c.Interface.IPv4 = netip.MustParsePrefix("100.64.0.0/10")
	if _, ok := c.Interface.Host(); ok || c.Router() {
		t.Error("a prefix for clients is no host's, and no router's")
	}
}

func TestRouter(t *testing.T) {
	for _, test := range []struct{ text, self string }{
		{"[[map]]\nipv4 = '192.0.2.1'\nipv6 = '2001:db8::1'", "invalid IP"},
		{"pref64.sources = ['configured']\n[[map]]\nipv4 = '192.0.2.1'\nipv6 = '2001:db8::1'", "invalid IP"},
		{"address.self-ipv6 = '2001:db8:2::1'\n[[map]]\nipv4 = '192.0.2.1'\nipv6 = '2001:db8::1'", "2001:db8:2::1"},
		{"pref64.prefixes = ['64:ff9b::/96', '2001:db8:64::/96']", "64:ff9b::6440:2e05"},
		{"pref64.prefixes = ['2001:db8:64::/64']\npref64.sources = ['dns', 'configured']", "2001:db8:64:0:64:402e:500:0"},
		{"pref64.prefixes = ['2001:db8:64::/96']\naddress.self-ipv6 = '2001:db8:64::100.64.46.5'", "2001:db8:64::6440:2e05"},
		{"pref64.prefixes = ['2001:db8:64::/96']\naddress.self-ipv6 = '2001:db8:2::1'", "2001:db8:2::1"},
		{"pref64.prefixes = ['64:ff9b::/96']\naddress.self-ipv6 = '64:ff9b::100.64.46.5'", "64:ff9b::6440:2e05"},
		{"pref64.prefixes = ['64:ff9b::/96']\ntranslate.lowest-ipv6-mtu = 1500", "64:ff9b::6440:2e05"},
		{"pref64.prefixes = ['64:ff9b::/96']\ntranslate.lowest-ipv6-mtu = 9000\ninterface.mtu = 9000", "64:ff9b::6440:2e05"},
		{"pref64.prefixes = ['64:ff9b::/96']\ntranslate.unmapped-source = ''\n[[map]]\nipv4 = '192.0.0.8'\nipv6 = '2001:db8::1'",
			"64:ff9b::6440:2e05"},
		{"pref64.prefixes = ['2001:db8:64::/96']\ninbound = 'all'\ninterface.default-route = false", "2001:db8:64::6440:2e05"},
		{"pref64.prefixes = ['2001:db8:64::/96']\ntranslate.lowest-ipv6-mtu = 'auto'\ninterface.mtu = 1280", "2001:db8:64::6440:2e05"},
	} {
		c, err := Parse("router.toml", []byte("interface.ipv4 = ''\n"+test.text))
		if err != nil {
			t.Errorf("%s\n%v", test.text, err)
			continue
		}
		_, host := c.Interface.Host()
		if !c.Router() || host || c.RepliesOnly() || c.SelfIPv6().String() != test.self {
			t.Errorf("%s\nrouter %v, host %v, replies only %v, self %v; want self %s", test.text, c.Router(), host, c.RepliesOnly(), c.SelfIPv6(),
				test.self)
		}
	}
	if defaults().Router() {
		t.Error("the default is a router")
	}
}

// What is refused for a plain translator, and not for others.
func TestNotOnlyRouters(t *testing.T) {
	for _, text := range []string{
		"translate.lowest-ipv6-mtu = 9000", // the uplink is not known yet
		"map = [{ipv4 = '192.0.0.0/24', ipv6 = '2001:db8::/120'}]",
	} {
		if _, err := Parse("host.toml", []byte(text)); err != nil {
			t.Error(err)
		}
	}
}

func TestRepliesOnly(t *testing.T) {
	for _, test := range []struct {
		inbound, ipv4 string
		want          bool
	}{
		{"", "100.64.46.4", true}, {"replies", "100.64.46.4", true}, {"all", "100.64.46.4", false},
		{"", "100.64.0.0/10", false}, {"replies", "100.64.0.0/10", true}, {"all", "100.64.0.0/10", false},
	} {
		c, err := Parse("", nil, Flag{"inbound", []string{test.inbound}}, Flag{"interface.ipv4", []string{test.ipv4}},
			Flag{"address.ipv6", []string{"2001:db8:1::/64"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.RepliesOnly(); got != test.want {
			t.Errorf("inbound %q, %s: %v", test.inbound, test.ipv4, got)
		}
	}
}

func TestSelfIPv6(t *testing.T) {
	for _, test := range []struct{ ipv6, self, embedding, want string }{
		{"", "", "invalid Prefix", "invalid IP"},
		{"2001:db8:1::46", "", "invalid Prefix", "2001:db8:1::46"},
		{"2001:db8:1::46", "2001:db8:1::1", "invalid Prefix", "2001:db8:1::1"},
		{"2001:db8:1::/96", "", "2001:db8:1::/96", "2001:db8:1::6440:2e05"},
		{"2001:db8:1::/64", "", "2001:db8:1::/64", "2001:db8:1:0:64:402e:500:0"},
		{"2001:db8:1::/64", "2001:db8:1::1", "2001:db8:1::/64", "2001:db8:1::1"},
	} {
		c, err := Parse("", nil, Flag{"address.ipv6", []string{test.ipv6}}, Flag{"address.self-ipv6", []string{test.self}},
			Flag{"pref64.prefixes", []string{"2001:db8:64::/96"}}) // which is not ours
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		p, ok := c.Address.Embedding()
		if p.String() != test.embedding || ok != p.IsValid() || c.SelfIPv6().String() != test.want {
			t.Errorf("%q, %q: embedding %v, self %v; want %s, %s", test.ipv6, test.self, p, c.SelfIPv6(), test.embedding, test.want)
		}
	}
}

func TestRALink(t *testing.T) {
	for source, want := range map[Source]string{RAFrom("eth0"): "eth0", RAFrom("eth0.5"): "eth0.5", SourceRA: "", SourceDNS: "", SourceConfigured: ""} {
		if link, ok := source.RALink(); ok != (want != "") || ok && link != want {
			t.Errorf("%s: %q, %v; want %q", source, link, ok, want)
		}
	}
}
