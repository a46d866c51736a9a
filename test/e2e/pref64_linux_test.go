package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"
)

// pref64Options are the argument of pref64Role.
type pref64Options struct {
	Interface string
	Source    netip.Addr // link-local
	Prefixes  []netip.Prefix
	Lifetime  time.Duration
	Interval  time.Duration
}

// pref64Role sends Router Advertisements that have nothing but PREF64 options, as the radvd of Debian 12 cannot. Their source must
// be an address that no other router on the link uses: their router lifetime of 0 takes a default route through it away.
func pref64Role(ctx context.Context, arg json.RawMessage, report func(any) error) error {
	var opt pref64Options
	if err := json.Unmarshal(arg, &opt); err != nil {
		return err
	}
	ifi, err := net.InterfaceByName(opt.Interface)
	if err != nil {
		return err
	}
	conn, _, err := ndp.Listen(ifi, ndp.Addr(opt.Source.String()))
	if err != nil {
		return fmt.Errorf("listening at %s of %s: %w", opt.Source, opt.Interface, err)
	}
	defer conn.Close()
	ra := &ndp.RouterAdvertisement{}
	for _, p := range opt.Prefixes {
		ra.Options = append(ra.Options, &ndp.PREF64{Lifetime: opt.Lifetime, Prefix: p})
	}
	again := time.NewTicker(opt.Interval)
	defer again.Stop()
	for first := true; ; first = false {
		if err := conn.WriteTo(ra, nil, netip.IPv6LinkLocalAllNodes()); err != nil {
			return err
		}
		if first {
			if err := report("ready"); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}
