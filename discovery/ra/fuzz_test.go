package ra

import (
	"net"
	"testing"
	"time"

	"uclat/discovery"
)

func FuzzAdvertisement(f *testing.F) {
	for _, text := range []string{
		"", header, header + prefixLA + prefixL, header + source + mtu + unknown + prefixLA, header + "fd 00", header + "26 00",
		header + source + mtu + wellKnown + servers + prefixLA + withdrawn,
		header + "03 04 81 c0  00015180 00003840 00000000  20010db8000a0000 0000000000000000",
		header + "26 02 0707 0064ff9b0000000000000000" +
			"26 02 070d 20010db8ffffffffffffffff" + "26 03 0708 0064ff9b0000000000000000 0000000000000000",
		header + "19 01 0000 00000e10" + "19 02 0000 00000e10 20010db800000000" +
			"05 02 0000 00000578 0000000000000000" + "01 03 020000000001 0000000000000000",
	} {
		f.Add(octets(f, text))
	}
	start := time.Now()
	f.Fuzz(func(t *testing.T, b []byte) {
		ad, err := parse(b, 255, router)
		if err != nil {
			return
		}
		options := len(b) - advertisementLen
		if len(ad.Prefixes) > min(maxPrefixes, options/32) || len(ad.PREF64) > min(maxPREF64, options/16) ||
			len(ad.Servers) > min(maxServers, options/16) {
			t.Errorf("%d prefixes, %d PREF64s, %d servers out of %d octets", len(ad.Prefixes), len(ad.PREF64), len(ad.Servers), options)
		}
		for _, p := range ad.Prefixes {
			if !p.Prefix.IsValid() || p.Prefix != p.Prefix.Masked() || p.Valid < 0 || p.Valid > discovery.Infinity || p.Preferred < 0 {
				t.Errorf("bad prefix information %+v", p)
			}
		}
		for _, o := range ad.PREF64 {
			if !o.Prefix.IsValid() || o.Lifetime < 0 || o.Lifetime > 65528*time.Second || o.Lifetime%(8*time.Second) != 0 {
				t.Errorf("bad PREF64 %+v", o)
			}
		}
		for _, s := range ad.Servers {
			if !s.Addr.Is6() || s.Addr.IsMulticast() || s.Addr.IsUnspecified() || s.Lifetime < 0 || s.Lifetime > discovery.Infinity {
				t.Errorf("bad server %+v", s)
			}
		}
		if ad.MTU != 0 && (ad.MTU < minMTU || ad.MTU > maxMTU) {
			t.Errorf("bad MTU %d", ad.MTU)
		}
		if hw, err := net.ParseMAC(ad.Hardware); ad.Hardware != "" && (err != nil || len(hw) != 6) {
			t.Errorf("bad link-layer address %q", ad.Hardware)
		}
		// What a router says holds now and ends when it says, or at all.
		var a discovery.Announcements
		a.Observe(start, ad)
		a.Observe(start, ad)
		known, _ := a.Valid(start)
		if len(known) > len(ad.Prefixes) {
			t.Errorf("%d prefixes are known of %d", len(known), len(ad.Prefixes))
		}
		for _, k := range known {
			if !k.Until.IsZero() && (!k.Until.After(start) || k.Preferred.After(k.Until) || k.Preferred.IsZero()) {
				t.Errorf("bad announcement %+v", k)
			}
		}
	})
}
