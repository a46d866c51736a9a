package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netns"

	"uclat/discovery"
	"uclat/discovery/ra"
)

func TestAdvertisementIsValid(t *testing.T) {
	t.Run("DISC-4861-6.1.2", func(t *testing.T) {
		option := announcing("2001:db8:64::/96", time.Hour)
		good := routerPacket(t, linkRouter, time.Hour, option, option)
		bad := map[string][]byte{
			"hop limit 254":                edited(good, 7, 254),
			"hop limit 0":                  edited(good, 7, 0),
			"a global source":              routerPacket(t, other6, time.Hour, option),
			"no source":                    routerPacket(t, nobody, time.Hour, option),
			"code 1":                       ndSealed(t, edited(good, 41, 1)),
			"an option without a length":   ndSealed(t, edited(good, 57, 0)),
			"the last without a length":    ndSealed(t, edited(good, 57+16, 0)),
			"an option beyond the end":     ndSealed(t, edited(good, 57+16, 3)),
			"another message":              ndSealed(t, edited(good, 40, byte(layers.ICMPv6TypeNeighborAdvertisement))),
			"a solicitation":               ndSealed(t, edited(good, 40, byte(layers.ICMPv6TypeRouterSolicitation))),
			"8 octets":                     good[:40+8],
			"15 octets":                    good[:40+15],
			"17 octets: half of an option": good[:40+17],
		}
		if heard := hears(t, good); len(heard) != 1 || len(heard[0].PREF64) != 2 {
			t.Fatalf("a good one: %+v", heard)
		}
		if heard := hears(t, good[:40+16]); len(heard) != 1 {
			t.Errorf("16 octets, without options: %+v", heard)
		}
		for what, p := range bad {
			if heard := hears(t, p); len(heard) != 0 {
				t.Errorf("%s: %+v", what, heard)
			}
		}

		// The checksum is looked at before a raw socket sees the message.
		n := newNetwork(t, 1)
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		heard := make(chan discovery.Advertisement, 1000)
		ended := make(chan error, 1)
		go func() {
			ended <- onThread(func() error {
				if err := netns.Set(n.ns); err != nil {
					return err
				}
				return ra.New(ra.Options{}).Run(ctx, func(ad discovery.Advertisement) { heard <- ad })
			})
		}()
		wrong, right := edited(good, 42, good[42]^1), routerPacket(t, linkRouter, 2*time.Hour)
		again := time.NewTicker(10 * time.Millisecond)
		defer again.Stop()
		for seen := 0; seen < 3; { // the first may come before it listens
			n.uplink.send(t, wrong)
			n.uplink.send(t, right)
			select {
			case ad := <-heard:
				if seen++; ad.Lifetime != 2*time.Hour {
					t.Errorf("with a wrong checksum: %+v", ad)
				}
			case err := <-ended:
				t.Fatalf("it ended, having heard %d: %v", seen, err)
			case <-again.C:
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
