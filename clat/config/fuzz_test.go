package config

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// FuzzParse holds Parse to what it promises of any file and any flag: a Config whose parts are there, or errors of one line each.
func FuzzParse(f *testing.F) {
	f.Add([]byte(Reference), "mode", "on")
	f.Add([]byte(strings.ReplaceAll(Reference, "\n#", "\n")), "", "")
	f.Add([]byte("interface.ipv4 = '100.64.0.0/10'\naddress.ipv6 = '2001:db8::/64'"), "map", "192.0.2.1=2001:db8:1::1")
	f.Add([]byte("interface = {ipv4 = '', ipv4-mtu = 1500}\ntranslate = {lowest-ipv6-mtu = 'auto', traffic-class = 46}"),
		"map", "192.0.2.1=2001:db8:1::1")
	for _, test := range append(bad, atOdds...) {
		f.Add([]byte(test.text), "pref64.prefixes", "2001:db8::/96")
	}
	f.Fuzz(func(t *testing.T, data []byte, flag, text string) {
		var flags []Flag
		if findKey(flag) != nil {
			flags = []Flag{{flag, []string{text}}}
		}
		c, err := Parse("fuzz.toml", data, flags...)
		if err != nil {
			checkErrors(t, err)
			return
		}
		again, err := Parse("fuzz.toml", data, flags...)
		if diff := cmp.Diff(c, again, plain); diff != "" || err != nil {
			t.Errorf("the second time it is another: %v\n%s", err, diff)
		}
		if !c.Interface.SelfIPv4.Is4() || c.Interface.Name == "" || len(c.PREF64.Sources) == 0 || c.Translate.UnmappedSource.Is6() ||
			c.Translate.LowestIPv6MTU != 0 && c.Translate.LowestIPv6MTU < 1280 || c.Interface.IPv4MTU != 0 && c.Interface.IPv4MTU < 68 {
			t.Errorf("something is missing: %+v", c)
		}
		if c.Router() && (c.Address.IPv6.IsValid() || c.RepliesOnly() || len(c.Maps)+len(c.PREF64.Prefixes) == 0 ||
			!c.SelfIPv6().IsValid() && len(c.PREF64.Prefixes) > 0) {
			t.Errorf("no plain translator: %+v", c)
		}
		if class := c.Translate.TrafficClass; !class.Fixed && class.Octet != 0 {
			t.Errorf("traffic class %+v is neither copied nor fixed", class)
		}
		if _, ok := c.Address.Embedding(); c.Address.IPv6.IsValid() && ok == c.Address.IPv6.IsSingleIP() {
			t.Errorf("%v is neither an address nor an RFC 6052 prefix", c.Address.IPv6)
		}
		for _, m := range c.Maps {
			if m.IPv4.Masked() != m.IPv4 || m.IPv6.Masked() != m.IPv6 || 128-m.IPv6.Bits() < 32-m.IPv4.Bits() {
				t.Errorf("%v is no mapping", m)
			}
		}
	})
}

func checkErrors(t *testing.T, err error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is not joined", err)
	}
	for _, err := range joined.Unwrap() {
		var e *Error
		if !errors.As(err, &e) || e.Where == "" || e.Why == "" {
			t.Errorf("%#v does not say where and why", err)
		}
		if strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is not one line", err)
		}
	}
}
