package resolver

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func list(servers []netip.AddrPort) string {
	var s []string
	for _, a := range servers {
		s = append(s, a.String())
	}
	return strings.Join(s, " ")
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ name, conf, want string }{
		{"empty", "", ""},
		{"one", "nameserver 192.0.2.1\n", "192.0.2.1:53"},
		{"no newline at the end", "nameserver 2001:db8::53", "[2001:db8::53]:53"},
		{"CRLF", "nameserver 192.0.2.1\r\nnameserver 192.0.2.2\r\n", "192.0.2.1:53 192.0.2.2:53"},
		{"tabs and spaces", " \tnameserver\t  192.0.2.1 \n", "192.0.2.1:53"},
		{"order is kept", "nameserver 192.0.2.2\nnameserver 192.0.2.1\n", "192.0.2.2:53 192.0.2.1:53"},
		{"twice is once", "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.1\n", "192.0.2.1:53 192.0.2.2:53"},
		{"more than three", strings.Repeat("nameserver 192.0.2.1\n", 3) + "nameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n",
			"192.0.2.1:53 192.0.2.2:53 192.0.2.3:53 192.0.2.4:53"},
		{"link-local with its interface", "nameserver fe80::1%eth0\nnameserver fe80::1%eth1\n", "[fe80::1%eth0]:53 [fe80::1%eth1]:53"},
		{"IPv4-mapped is IPv4", "nameserver ::ffff:192.0.2.1\n", "192.0.2.1:53"},
		{"comments", "# nameserver 192.0.2.1\n;nameserver 192.0.2.2\n#nameserver 192.0.2.3\nnameserver 192.0.2.4 # the router\n", "192.0.2.4:53"},
		{"other options", "domain example.com\nsearch example.com nameserver 192.0.2.1\noptions edns0 trust-ad\nnameserver 192.0.2.9\n", "192.0.2.9:53"},
		{"junk", "nameserver\nnameserver localhost\nnameserver 192.0.2\nnameserver 192.0.2.1:53\nnameservers 192.0.2.2\n\x00\xff\n" +
			"NAMESERVER 192.0.2.3\nnameserver [::1]\n", ""},
		{"multicast", "nameserver ff02::fb\nnameserver 224.0.0.251\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, list(parse([]byte(tt.conf)))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestOnlyStub(t *testing.T) {
	for _, tt := range []struct {
		conf string
		want bool
	}{
		{"", false},
		{"nameserver 127.0.0.53\n", true},
		{"nameserver 127.0.0.54\n", true},
		{"nameserver 127.0.0.53\nnameserver 127.0.0.54\n", true},
		{"nameserver 127.0.0.1\n", false}, // some other program, whose upstream only it knows
		{"nameserver 127.0.0.53\nnameserver 192.0.2.1\n", false},
	} {
		if got := onlyStub(parse([]byte(tt.conf))); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.conf, got, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("# made by hand\nsearch example.com\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver ::ffff:192.0.2.2 # x\n"))
	f.Add([]byte("nameserver 127.0.0.53\r\noptions edns0\r\n"))
	f.Fuzz(func(t *testing.T, conf []byte) {
		seen := map[netip.AddrPort]bool{}
		servers := parse(conf)
		for _, s := range servers {
			if !s.IsValid() || s.Port() != 53 || s.Addr().Is4In6() || s.Addr().IsMulticast() || seen[s] {
				t.Fatalf("%v among %v", s, servers)
			}
			seen[s] = true
		}
		var again strings.Builder
		for _, s := range servers {
			again.WriteString("nameserver " + s.Addr().String() + "\n")
		}
		if diff := cmp.Diff(list(servers), list(parse([]byte(again.String())))); diff != "" {
			t.Fatalf("written down and read again (-want +got):\n%s", diff)
		}
	})
}
