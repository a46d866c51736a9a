package resolver

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestServers(t *testing.T) {
	const absent = "\x00absent"
	for _, tt := range []struct{ name, conf, uplink, want, err string }{
		{"plain", "nameserver 192.0.2.1\n", absent, "192.0.2.1:53", ""},
		{"plain, and systemd-resolved runs too", "nameserver 192.0.2.1\n", "nameserver 192.0.2.2\n", "192.0.2.1:53", ""},
		{"stub", "nameserver 127.0.0.53\n", "nameserver 192.0.2.2\nnameserver fe80::1%eth0\n", "192.0.2.2:53 [fe80::1%eth0]:53", ""},
		{"the other stub", "nameserver 127.0.0.54\n", "nameserver 192.0.2.2\n", "192.0.2.2:53", ""},
		{"stub beside a resolver", "nameserver 127.0.0.53\nnameserver 192.0.2.1\n", "nameserver 192.0.2.2\n", "127.0.0.53:53 192.0.2.1:53", ""},
		{"stub of something else", "nameserver 127.0.0.53\n", absent, "127.0.0.53:53", ""},
		{"other program on the host", "nameserver 127.0.0.1\n", "nameserver 192.0.2.2\n", "127.0.0.1:53", ""},
		{"stub without resolvers", "nameserver 127.0.0.53\n", "# No DNS servers known.\n", "", "systemd-resolved has no nameserver"},
		{"no resolver", "search example.com\n", absent, "", "names no nameserver"},
		{"empty", "", absent, "", "names no nameserver"},
		{"absent", absent, absent, "", "no such file"},
		{"endless", strings.Repeat("#\n", maxConf), absent, "", "hence no resolv.conf"},
		{"endless behind the stub", "nameserver 127.0.0.53\n", strings.Repeat("#\n", maxConf), "", "behind 127.0.0.53 are unknown"},
		{"as long as it gets", "nameserver 192.0.2.1\n" + strings.Repeat("#", maxConf-21), absent, "192.0.2.1:53", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			f := files{conf: filepath.Join(dir, "resolv.conf"), uplink: filepath.Join(dir, "uplink.conf")}
			for path, text := range map[string]string{f.conf: tt.conf, f.uplink: tt.uplink} {
				if text == absent {
					continue
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			servers, err := f.servers(t.Context())
			if diff := cmp.Diff(tt.want, list(servers)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			switch {
			case tt.err == "" && err != nil:
				t.Errorf("error: %v", err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || !strings.HasSuffix(err.Error(), remedy)):
				t.Errorf("error is %v, want %q and what to do", err, tt.err)
			}
		})
	}
}

func TestServersErrorWrapsItsCause(t *testing.T) {
	f := files{conf: filepath.Join(t.TempDir(), "resolv.conf")}
	if _, err := f.servers(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want one that wraps %v", err, fs.ErrNotExist)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.servers(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
}
