package hostnet

import (
	"net/netip"
	"slices"
	"testing"
)

// What was written is read; what was not is an error, and then every prefix is one that the kernel could have.
func FuzzJournal(f *testing.F) {
	for _, seed := range []string{
		"", "{}", `{"schema":1,"blackhole":["2001:db8::1/128"]}`, `{"schema":1,"blackhole":["2001:db8::1/128","2001:d`,
		`{"schema":2,"blackhole":{"a":"2001:db8::1/128"}}`, `{"schema":1,"blackhole":["::ffff:192.0.2.1/128","2001:db8::1/64"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseJournal(data)
		for _, p := range got {
			if !prefix6(p) {
				t.Errorf("%s is no IPv6 prefix", p)
			}
		}
		if err != nil {
			return
		}
		again, err := formatJournal(got)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := parseJournal(again); err != nil || !slices.Equal(got, same) {
			t.Errorf("%s written as %s: %v, %v", data, again, same, err)
		}
	})
}

func TestPrefix6(t *testing.T) {
	for text, want := range map[string]bool{
		"2001:db8::1/128": true, "2001:db8::/64": true, "::/0": true, "2001:db8::1/64": false, "192.0.2.1/32": false, "::ffff:192.0.2.1/128": false,
	} {
		if got := prefix6(netip.MustParsePrefix(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if prefix6(netip.Prefix{}) {
		t.Error("the zero Prefix")
	}
}
