package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/sync/errgroup"
)

// router is the role of the laptop's router: it advertises itself, its prefix and the PREF64 on lan0, and answers DNS64.
func router(ctx context.Context, _ json.RawMessage, report func(any) error) error {
	g, ctx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	g.Go(func() error {
		return nameServer{names: zone, dns64: prefix64}.serve(ctx, "::", func() error { close(ready); return nil })
	})
	g.Go(func() error {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
		return advertise(ctx, "lan0", report)
	})
	return g.Wait()
}

// advertise sends Router Advertisements on dev every few seconds, and at once to who solicits them. It reports when the first is sent.
func advertise(ctx context.Context, dev string, report func(any) error) error {
	ifi, err := net.InterfaceByName(dev)
	if err != nil {
		return err
	}
	conn, _, err := ndp.Listen(ifi, ndp.LinkLocal)
	if err != nil {
		return fmt.Errorf("listening for router solicitations on %s: %w", dev, err)
	}
	defer conn.Close()
	if err := conn.JoinGroup(netip.MustParseAddr("ff02::2")); err != nil {
		return err
	}
	const lifetime = 30 * time.Minute
	ra := &ndp.RouterAdvertisement{
		CurrentHopLimit: 64,
		RouterLifetime:  lifetime,
		Options: []ndp.Option{
			&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: ifi.HardwareAddr},
			&ndp.PrefixInformation{
				PrefixLength: uint8(lanPrefix.Bits()), OnLink: true, AutonomousAddressConfiguration: true,
				ValidLifetime: lifetime, PreferredLifetime: lifetime, Prefix: lanPrefix.Addr(),
			},
			&ndp.RecursiveDNSServer{Lifetime: lifetime, Servers: []netip.Addr{routerLAN.Addr()}},
			&ndp.PREF64{Lifetime: lifetime, Prefix: prefix64.Prefix()},
		},
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	const period = 3 * time.Second
	for first := true; ; first = false {
		if err := conn.WriteTo(ra, nil, netip.MustParseAddr("ff02::1")); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("advertising on %s: %w", dev, err)
		}
		if first {
			if err := report("ready"); err != nil {
				return err
			}
		}
		if err := awaitSolicitation(ctx, conn, time.Now().Add(period)); err != nil {
			return err
		}
	}
}

// awaitSolicitation returns when somebody asks for an advertisement, or at the deadline.
func awaitSolicitation(ctx context.Context, conn *ndp.Conn, deadline time.Time) error {
	if err := conn.SetReadDeadline(deadline); err != nil && ctx.Err() == nil {
		return err
	}
	for {
		m, _, _, err := conn.ReadFrom()
		var timeout net.Error
		switch {
		case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
			return nil
		case err != nil:
			return err
		}
		if _, ok := m.(*ndp.RouterSolicitation); ok {
			return nil
		}
	}
}
