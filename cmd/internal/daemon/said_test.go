package daemon

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// The log says by which path, and why that one.
func TestPathIsSaid(t *testing.T) {
	for _, tt := range []struct{ name, toml, want string }{
		{"made on the link", "pref64.prefixes = ['64:ff9b::/96']",
			`code=on path=packet because="this host makes an address of its own on the uplink (address.ipv6 is not set)"`},
		{"routed", "pref64.prefixes = ['64:ff9b::/96']\naddress.ipv6 = '2001:db8:c1a7::46'",
			`code=on path=kernel because="address.ipv6 is routed to this host"`},
		{"as it is configured", "pref64.prefixes = ['64:ff9b::/96']\naddress.ipv6 = '2001:db8:c1a7::46'\npath = 'packet'",
			`code=on path=packet because="the configuration says so (path)"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r, o := newRig(t, tt.toml, laptop(slaac))
				o.Log = slog.New(slog.NewTextHandler(r, nil))
				r.run(o)
				r.after(10 * time.Second)
				if text := strings.Join(r.forget(), "\n"); !strings.Contains(text, tt.want) {
					t.Errorf("no %s in\n%s", tt.want, text)
				}
				if err := r.stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
