package ra

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"uclat/discovery"
)

// Of RFC 4861, 4.2.
const (
	typeAdvertisement = 134
	advertisementLen  = 16 // without options
	hopLimitOnLink    = 255
)

// What is taken of one message at most. Routers say far less; what somebody else says must not cost much.
const (
	maxPrefixes = 32
	maxPREF64   = 16
	maxServers  = 8
)

var linkLocal = netip.MustParsePrefix("fe80::/10")

// Why a message is not a valid Router Advertisement (RFC 4861, 6.1.2).
var (
	errType     = errors.New("it is no Router Advertisement")
	errSource   = errors.New("its source is not link-local")
	errHopLimit = errors.New("its hop limit is not 255, so a router may have forwarded it")
	errCode     = errors.New("its code is not 0")
	errShort    = errors.New("it is too short")
	errOption   = errors.New("one of its options has no length, or is longer than the rest of it")
)

// parse reads an ICMPv6 message, whose checksum the kernel has verified. An option whose content is bad is left out; it does not spoil
// the others. Of options that make sense once, the first good one counts.
func parse(b []byte, hopLimit int, from netip.Addr) (ad discovery.Advertisement, err error) {
	switch {
	case len(b) < advertisementLen:
		return ad, errShort
	case b[0] != typeAdvertisement:
		return ad, errType
	case b[1] != 0:
		return ad, errCode
	case hopLimit != hopLimitOnLink:
		return ad, errHopLimit
	case !linkLocal.Contains(from.WithZone("")):
		return ad, errSource
	}
	ad.Router = from.WithZone("")
	ad.Lifetime = time.Duration(binary.BigEndian.Uint16(b[6:])) * time.Second
	for rest := b[advertisementLen:]; len(rest) > 0; {
		if len(rest) < 2 || rest[1] == 0 || len(rest) < 8*int(rest[1]) {
			return discovery.Advertisement{}, errOption
		}
		option := rest[:8*int(rest[1])]
		rest = rest[len(option):]
		read(&ad, option)
	}
	return ad, nil
}
