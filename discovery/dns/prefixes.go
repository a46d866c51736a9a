package dns

import (
	"encoding/binary"
	"net/netip"

	"uclat/clat/pref64"
)

// The well-known IPv4 addresses of ipv4only.arpa (RFC 7050, 2.2): 192.0.0.170, which is searched for first, and 192.0.0.171.
var wellKnown = [2]uint32{0xc00000aa, 0xc00000ab}

// Prefixes finds the PREF64s in the AAAA records of ipv4only.arpa (RFC 7050, 3), in the order of the records, each once. A record
// tells a prefix when 192.0.0.170, or else 192.0.0.171, occurs in it exactly once on octet boundaries, at one of the six places of
// RFC 6052, 2.2, behind a prefix that pref64.From accepts. A prefix that occurs with both addresses, each in a record of its own, is
// confirmed, and settles what its records leave open. A record that stays ambiguous tells nothing.
func Prefixes(aaaa []netip.Addr) []pref64.Prefix {
	found := make([]record, 0, len(aaaa))
	var behind [2]map[pref64.Prefix]bool // the prefixes that stand before each of the two addresses, in any record
	for i := range behind {
		behind[i] = map[pref64.Prefix]bool{}
	}
	for _, a := range aaaa {
		if !a.Is6() {
			continue
		}
		var r record
		for i, wka := range wellKnown {
			r[i] = find(a.As16(), wka)
			for _, p := range r[i].prefixes {
				behind[i][p] = true
			}
		}
		found = append(found, r)
	}

	var prefixes []pref64.Prefix
	listed := map[pref64.Prefix]bool{}
	for _, r := range found {
		if p := r.settle(behind); p.IsValid() && !listed[p] {
			listed[p] = true
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

// record is what was found in one AAAA record, for each of the two addresses.
type record [2]search

// search is what was found of one well-known address in one record.
type search struct {
	prefixes []pref64.Prefix // that it may stand behind
	count    int             // occurrences, also at places where no prefix ends
}

// find looks for wka on all octet boundaries of a: as it is, and parted by octet 8 where RFC 6052 parts it.
func find(a [16]byte, wka uint32) (s search) {
	for off := 0; off+4 <= len(a); off++ {
		if binary.BigEndian.Uint32(a[off:]) == wka {
			s.count++
		}
	}
	for _, bits := range pref64.Lengths {
		n := bits / 8
		if bits != 96 && a[8] != 0 || embedded(a, n) != wka {
			continue
		}
		if 4 < n && n < 8 { // parted by octet 8, hence not among the above
			s.count++
		}
		p, err := pref64.From(netip.PrefixFrom(netip.AddrFrom16(a), bits).Masked())
		if err == nil {
			s.prefixes = append(s.prefixes, p)
		}
	}
	return s
}

// embedded is the IPv4 address behind a prefix of n octets, octet 8 left out.
func embedded(a [16]byte, n int) (v4 uint32) {
	for i := 0; i < 4; n++ {
		if n == 8 {
			continue
		}
		v4 = v4<<8 | uint32(a[n])
		i++
	}
	return v4
}

// settle is the one prefix that the record tells, invalid where it tells none.
func (r record) settle(behind [2]map[pref64.Prefix]bool) pref64.Prefix {
	// One place in a record holds one value: if the other address stands behind the same prefix, it does so in another record.
	var confirmed []pref64.Prefix
	for i, s := range r {
		for _, p := range s.prefixes {
			if behind[1-i][p] {
				confirmed = append(confirmed, p)
			}
		}
	}
	if len(confirmed) == 1 {
		return confirmed[0]
	}
	for _, s := range r {
		if s.count == 1 && len(s.prefixes) == 1 {
			return s.prefixes[0]
		}
	}
	return pref64.Prefix{}
}
