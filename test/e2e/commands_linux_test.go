package e2e

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
)

// TestCommands looks at the laptop with the commands that change nothing.
func TestCommands(t *testing.T) {
	t.Parallel()
	top := newTopology(t)
	before := dump(t, top.laptop)
	run := func(t *testing.T, command ...string) string {
		t.Helper()
		return must(t, top.laptop, uclat(t), command...)
	}
	resolver := routerLAN.Addr().String()

	t.Run("version", func(t *testing.T) {
		if out := run(t, "version"); !strings.HasPrefix(out, "uclat ") {
			t.Errorf("version says %q", out)
		}
	})
	t.Run("check", func(t *testing.T) {
		const valid = "the configuration is valid\non: IPv4 through eth0, PREF64 2001:db8:64::/96 "
		want := valid + "(from resolver " + resolver + " by RFC 7050), as 2001:db8:c1a7:0:64:402e:400:0\n"
		if out := run(t, append([]string{"check"}, top.discovering()...)...); out != want {
			t.Errorf("check says\n%s", out)
		}
		file := config(t, "uclat.toml", "[address]\nipv6 = \"2001:db8:c1a7::46\"\n[pref64]\nprefixes = [\"2001:db8:64::/96\"]\n")
		want = valid + "(configured), as 2001:db8:c1a7::46\n"
		if out := run(t, "check", file); out != want {
			t.Errorf("check of a file says\n%s", out)
		}
	})
	t.Run("check warns of an address that the link would have to answer for", func(t *testing.T) {
		r := try(t, top.laptop, uclat(t), "check", "--path", "kernel", "--address.ipv6", "2001:db8:1::46")
		if r.code != 1 || !strings.Contains(r.stdout, "warning: address.ipv6 = 2001:db8:1::46/128 lies in 2001:db8:1::/64, which is on-link at eth0") {
			t.Errorf("check ended with %d and says\n%s", r.code, r.stdout)
		}
	})
	t.Run("discover", func(t *testing.T) {
		out := run(t, "discover")
		for _, want := range []string{"2001:db8:64::/96 ", "on eth0, by RFC 7050 from resolver " + resolver + ", for "} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		type prefix struct {
			Prefix, Method, Interface, Resolver, Why string
			Lifetime                                 int
			Trusted                                  bool
		}
		var found struct {
			Schema   int
			Use      prefix
			Prefixes []prefix
		}
		parseJSON(t, run(t, "discover", "--json", "--pref64.prefixes", "64:ff9b::/96"), &found)
		if use := found.Use; found.Schema != 1 || use.Prefix != "64:ff9b::/96" || use.Method != "configured" || len(found.Prefixes) != 2 {
			t.Errorf("JSON is %+v", found)
		}
		for _, p := range found.Prefixes {
			if p.Method == "dns" && (p.Prefix != pref64.String() || p.Resolver != resolver || p.Interface != "eth0" || p.Lifetime < 1 || p.Trusted) {
				t.Errorf("JSON has %+v", p)
			}
		}
	})
	t.Run("explain", func(t *testing.T) {
		for _, c := range []struct {
			args []string
			want []string
		}{
			{top.discovering(server4.String()), []string{
				"IPv4", "100.64.46.4 -> 198.51.100.10", "IPv6", clat64 + " -> " + server6.String(), "PREF64", "2001:db8:64::/96, from resolver 2001:db8:1::1 by RFC 7050",
				"uplink", "eth0, 1500 octets of IPv6, so 1480 of IPv4"}},
			{top.configured(server4.String()), []string{clat46 + " -> " + server6.String(), "configured"}},
			{top.configured(server6.String()), []string{server6.String() + " -> " + clat46, "198.51.100.10 -> 100.64.46.4"}},
			{top.configured("127.0.0.1"), []string{"not translated", "lo"}},
			{top.configured("224.0.0.1"), []string{"dropped"}},
			{top.configured("2001:db8:5::1"), []string{"not translated", "native IPv6"}},
		} {
			out := run(t, append([]string{"explain"}, c.args...)...)
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("explain %q: no %q in\n%s", c.args, want, out)
				}
			}
		}
		var x struct {
			Schema     int
			Address    string
			Translated struct{ From, To [2]string }
			MTU6       int
			Uplink     string
			PREF64     string
		}
		parseJSON(t, run(t, append([]string{"explain", "--json"}, top.configured(server4.String())...)...), &x)
		if x.Schema != 1 || x.Address != server4.String() || x.Translated.From != [2]string{"100.64.46.4", server4.String()} ||
			x.Translated.To != [2]string{clat46, server6.String()} || x.MTU6 != 1500 || x.Uplink != "eth0" || x.PREF64 != pref64.String() {
			t.Errorf("JSON is %+v", x)
		}
	})
	t.Run("check and explain while the program runs", func(t *testing.T) {
		p := top.up(t, top.discovering()...)
		run(t, append([]string{"check"}, top.discovering()...)...)
		out := run(t, append([]string{"explain"}, top.discovering(server4.String())...)...)
		if !strings.Contains(out, clat64+" -> "+server6.String()) {
			t.Errorf("explain says\n%s", out)
		}
		down(t, p, syscall.SIGTERM)
	})
	top.unchanged(t, before)
}

// TestCommandsOnPacket is that for path packet.
func TestCommandsOnPacket(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	before := dump(t, top.laptop)
	run := func(t *testing.T, command ...string) string {
		t.Helper()
		return must(t, top.laptop, uclat(t), command...)
	}
	t.Run("check", func(t *testing.T) {
		want := "on: IPv4 through eth0, PREF64 2001:db8:64::/96 (configured), as " + top.addr6 + ", path packet\n"
		if out := run(t, append([]string{"check"}, top.configured()...)...); !strings.HasSuffix(out, want) {
			t.Errorf("check says\n%s", out)
		}
		// The same, and the path is found.
		out := run(t, "check", "--address.ipv6", top.addr6, "--pref64.prefixes", pref64.String())
		if !strings.HasSuffix(out, want) {
			t.Errorf("check of less says\n%s", out)
		}
	})
	t.Run("explain and check while the program runs", func(t *testing.T) {
		p := top.up(t)
		addr := p.addr6(t).String()
		out := run(t, "explain", server4.String())
		for _, want := range []string{addr + " -> " + server6.String(), "path     packet: ", "eth0, 1500 octets of IPv6, so 1480 of IPv4"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		if out := run(t, "check"); !strings.HasSuffix(out, "as "+addr+", path packet\n") {
			t.Errorf("check says\n%s", out)
		}
		down(t, p, syscall.SIGTERM)
	})
	t.Run("explain says which path, and why", func(t *testing.T) {
		for _, c := range []struct {
			flags     []string
			path, why string
		}{
			{nil, "packet", "this host makes an address of its own on the uplink (address.ipv6 is not set)"},
			{[]string{"--address.ipv6", top.addr6}, "packet", "address.ipv6 is an address of eth0's link"},
			{[]string{"--address.ipv6", clat46}, "kernel", "address.ipv6 is routed to this host"},
			{top.configured(), "packet", "the configuration says so (path)"},
			{[]string{"--interface.ipv4", "100.64.0.0/10", "--address.ipv6", "2001:db8:c1a7::/64"}, "kernel", "clients are behind this host (interface.ipv4)"},
		} {
			var x struct {
				Path, Uplink string
				Why          string `json:"path_why"`
			}
			parseJSON(t, run(t, append([]string{"explain", "--json", server4.String()}, c.flags...)...), &x)
			if x.Path != c.path || x.Why != c.why || x.Uplink != "eth0" {
				t.Errorf("%q: %+v, want %s: %s", c.flags, x, c.path, c.why)
			}
		}
	})
	top.unchanged(t, before)
}

func parseJSON(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
}
