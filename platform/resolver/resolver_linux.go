package resolver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
)

// maxConf bounds what is read of a file, in octets; resolv.conf is some hundred.
const maxConf = 64 << 10

// System is the resolvers of the system as they are now, in their order; link-local ones have their zone. They are those of
// /etc/resolv.conf, or, where that names systemd-resolved's stub only, those that the stub asks: it may validate or answer
// ipv4only.arpa itself, and RFC 8880, 7.1 wants the network's own. The error says what to do; it wraps fs.ErrNotExist and
// fs.ErrPermission where that is the cause.
func System(ctx context.Context) ([]netip.AddrPort, error) {
	return files{conf: "/etc/resolv.conf", uplink: "/run/systemd/resolve/resolv.conf"}.servers(ctx)
}

// files are where the resolvers are written down.
type files struct {
	conf   string
	uplink string // systemd-resolved's list of the resolvers it asks
}

const remedy = "configure a resolver in the system, or set pref64.prefixes"

func (f files) servers(ctx context.Context) ([]netip.AddrPort, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	servers, err := read(f.conf)
	if err != nil {
		return nil, fmt.Errorf("the system's resolvers are unknown: %w: %s", err, remedy)
	}
	if !onlyStub(servers) {
		if len(servers) == 0 {
			return nil, fmt.Errorf("%s names no nameserver: %s", f.conf, remedy)
		}
		return servers, nil
	}
	uplink, err := read(f.uplink)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return servers, nil // not systemd-resolved's, or it runs elsewhere: the stub is all there is to ask
	case err != nil:
		return nil, fmt.Errorf("the resolvers behind %v are unknown: %w: %s", servers[0].Addr(), err, remedy)
	case len(uplink) == 0:
		// The stub would go on to public resolvers of its maker's choice, which say nothing of this network.
		return nil, fmt.Errorf("systemd-resolved has no nameserver (%s): %s", f.uplink, remedy)
	}
	return uplink, nil
}

func read(path string) ([]netip.AddrPort, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	conf, err := io.ReadAll(io.LimitReader(file, maxConf+1))
	if err != nil {
		return nil, err
	}
	if len(conf) > maxConf {
		return nil, fmt.Errorf("%s is longer than %d octets, hence no resolv.conf", path, maxConf)
	}
	return parse(conf), nil
}
