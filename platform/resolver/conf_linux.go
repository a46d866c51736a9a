package resolver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
)

// maxConf bounds what is read of a file, in octets; resolv.conf is some hundred.
const maxConf = 64 << 10

// files are where the resolvers of the system are written down, of all links alike.
type files struct {
	conf   string
	uplink string // systemd-resolved's list of the resolvers it asks
}

var usual = files{conf: "/etc/resolv.conf", uplink: "/run/systemd/resolve/resolv.conf"}

const remedy = "configure a resolver in the system, or set pref64.prefixes"

// servers are those of /etc/resolv.conf, or, where that names systemd-resolved's stub only, those that the stub asks: it may validate
// or answer ipv4only.arpa itself, and RFC 8880, 7.1 wants the network's own. The error wraps fs.ErrNotExist and fs.ErrPermission where
// that is the cause.
func (f files) servers() (Servers, error) {
	servers, err := read(f.conf)
	if err != nil {
		return Servers{}, fmt.Errorf("the system's resolvers are unknown: %w: %s", err, remedy)
	}
	if !onlyStub(servers) {
		if len(servers) == 0 {
			return Servers{}, fmt.Errorf("%s names no nameserver: %s", f.conf, remedy)
		}
		return Servers{servers, f.conf}, nil
	}
	uplink, err := read(f.uplink)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Servers{servers, f.conf}, nil // not systemd-resolved's, or it runs elsewhere: the stub is all there is to ask
	case err != nil:
		return Servers{}, fmt.Errorf("the resolvers behind %v are unknown: %w: %s", servers[0].Addr(), err, remedy)
	case len(uplink) == 0:
		// The stub would go on to public resolvers of its maker's choice, which say nothing of this network.
		return Servers{}, fmt.Errorf("systemd-resolved has no nameserver (%s): %s", f.uplink, remedy)
	}
	return Servers{uplink, f.uplink}, nil
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

// of is what remains of the files' resolvers for one link, where others are known to belong to other links. Those on the host itself
// remain: where nothing else is written down, they are all there is.
func (f files) of(l link, others []netip.Addr) (Servers, error) {
	servers, err := f.servers()
	if err != nil {
		return Servers{}, err
	}
	own := Servers{From: servers.From}
	for _, s := range servers.List {
		a := s.Addr()
		if !a.IsLoopback() {
			if !l.hasZone(a) || a.IsUnspecified() || slices.Contains(others, a) {
				continue
			}
			away, err := elsewhere(l.index, a)
			if err != nil {
				return Servers{}, err
			}
			if away {
				continue
			}
		}
		own.List = l.add(own.List, a, s.Port())
	}
	if len(own.List) == 0 {
		return Servers{}, fmt.Errorf("%s names no nameserver of %s, but %d that others lead to: %s", own.From, l.name, len(servers.List), remedy)
	}
	return own, nil
}
