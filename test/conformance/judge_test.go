package conformance

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// trial is a testing.TB that keeps to itself what fails.
type trial struct {
	testing.TB
	said strings.Builder
}

func (*trial) Helper() {}

func (r *trial) Errorf(format string, args ...any) { fmt.Fprintf(&r.said, format, args...) }

func (r *trial) Fatal(args ...any) { r.Fatalf("%v", args) }

func (r *trial) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// try returns what f fails with; empty if it does not.
func try(t testing.TB, f func(t testing.TB)) string {
	r := &trial{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r.said.String()
}

// TestJudges shows that what all tests rely on notices what is wrong with a packet.
func TestJudges(t *testing.T) {
	udp4, udp6 := build(t, &layers.IPv4{}, &layers.UDP{}, data(9)), build(t, &layers.IPv6{}, &layers.UDP{}, data(9))
	tcp4, tcp6 := build(t, &layers.IPv4{}, &layers.TCP{}, data(9)), build(t, &layers.IPv6{}, &layers.TCP{}, data(9))
	echo4, echo6 := build(t, &layers.IPv4{}, icmp4(8, 0, 1), data(9)), build(t, &layers.IPv6{}, icmp6(128, 0, 1), data(9))
	fragment6 := build(t, &layers.IPv6{}, &layers.IPv6Fragment{NextHeader: 17, MoreFragments: true}, data(8))
	for _, good := range [][]byte{udp4, udp6, tcp4, tcp6, echo4, echo6, fragment6} {
		if said := try(t, func(t testing.TB) { decode(t, good) }); said != "" {
			t.Errorf("%x: %s", good, said)
		}
	}
	for name, bad := range map[string][]byte{
		"IPv4 header checksum":           edited(udp4, 11, udp4[11]^1),
		"IPv4 Total Length too long":     resealed(edited(udp4, 3, udp4[3]+1)),
		"IPv4 Total Length too short":    resealed(edited(udp4, 3, udp4[3]-1)),
		"IPv4 Total Length 0":            resealed(edited(udp4, 2, 0, 0)),
		"IPv4 reserved flag":             resealed(edited(udp4, 6, 0x80)),
		"IPv4 options":                   build(t, &layers.IPv4{Options: []layers.IPv4Option{{OptionType: 1}}}, &layers.UDP{}, data(9)),
		"IPv6 version":                   edited(udp6, 0, 0x70),
		"IPv6 Payload Length too long":   edited(udp6, 5, udp6[5]+1),
		"IPv6 Payload Length too short":  edited(udp6, 5, udp6[5]-1),
		"IPv6 flow label":                edited(udp6, 3, 1),
		"atomic fragment":                edited(fragment6, 43, 0),
		"Fragment header, reserved":      edited(fragment6, 41, 1),
		"Fragment header, reserved bits": edited(fragment6, 43, 3),
		"UDP over IPv4":                  edited(udp4, 30, udp4[30]^1),
		"UDP over IPv6":                  edited(udp6, 50, udp6[50]^1),
		"UDP over IPv6 with 0":           edited(udp6, 46, 0, 0),
		"TCP over IPv4":                  edited(tcp4, 30, tcp4[30]^1),
		"TCP over IPv6":                  edited(tcp6, 50, tcp6[50]^1),
		"ICMPv4":                         edited(echo4, 30, echo4[30]^1),
		"ICMPv6":                         edited(echo6, 50, echo6[50]^1),
		"ICMPv6 without a pseudo-header": edited(echo6, 42, echo4[22], echo4[23]),
		"nothing":                        nil,
	} {
		if said := try(t, func(t testing.TB) { decode(t, bad) }); said == "" {
			t.Errorf("%s: nothing was found in %x", name, bad)
		}
	}

	parts := func(order ...int) (all []packet) {
		whole := cut(t, build(t, &layers.IPv6{}, &layers.UDP{}, data(3000)), 7, 1024)
		for _, i := range order {
			all = append(all, decode(t, whole[i]))
		}
		return all
	}
	if said := try(t, func(t testing.TB) { joined(t, parts(0, 1, 2)) }); said != "" {
		t.Errorf("all fragments: %s", said)
	}
	for _, order := range [][]int{{0, 2, 1}, {0, 1}, {1, 2}, {0, 0, 1, 2}} {
		if said := try(t, func(t testing.TB) { joined(t, parts(order...)) }); said == "" {
			t.Errorf("fragments %d: nothing was found", order)
		}
	}
}
