package monitor

import (
	"net/netip"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRelevant(t *testing.T) {
	interest := []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("64:ff9b::/96")}
	for dst, want := range map[string]bool{
		"0.0.0.0/0":        true,
		"0.0.0.0/1":        true,
		"128.0.0.0/1":      true,
		"::/0":             true,
		"8000::/1":         true,
		"2000::/3":         true,
		"100.64.46.0/24":   true, // inside
		"100.0.0.0/8":      true, // covering
		"64:ff9b::/64":     true,
		"64:ff9b::1/128":   true,
		"64.0.0.0/2":       true, // covers 100.64.0.0/10
		"192.0.2.0/24":     false,
		"100.128.0.0/16":   false,
		"2001:db8::/32":    false,
		"4000::/3":         false,
		"64:ff9b:1::/48":   false,
		"fe80::/64":        false,
		"192.168.0.0/16":   false,
		"2001:db8:1::/128": false,
	} {
		if got := relevant(netip.MustParsePrefix(dst), interest); got != want {
			t.Errorf("%s: %t, want %t", dst, got, want)
		}
	}
	if relevant(netip.MustParsePrefix("100.64.46.0/24"), nil) {
		t.Error("relevant to nobody, and kept")
	}
}
