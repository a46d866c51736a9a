package policy

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"

	"uclat/clat/checksum"
	"uclat/clat/pref64"
)

// identifierRetries is how often another address of a prefix is tried where one is taken (RFC 7217, 6: IDGEN_RETRIES).
const identifierRetries = 3

// makeAddress is the address of ours in a /64: its interface identifier is stable in that network, says nothing in another, and is another one
// for each count of addresses that were tried there (RFC 7217, 5). The prefix is what tells one network from another.
func makeAddress(secret [32]byte, prefix netip.Prefix, link string, count int) netip.Addr {
	a := prefix.Masked().Addr().As16()
	for retry := uint32(0); ; retry++ {
		h := hmac.New(sha256.New, secret[:])
		h.Write(a[:8])
		h.Write([]byte("clat\x00" + link + "\x00"))
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(count)))
		h.Write(binary.BigEndian.AppendUint32(nil, retry))
		copy(a[8:], h.Sum(nil))
		if !reservedIdentifier(binary.BigEndian.Uint64(a[8:])) {
			return netip.AddrFrom16(a)
		}
	}
}

// reservedIdentifier is true for the interface identifiers that RFC 5453 reserves.
func reservedIdentifier(id uint64) bool {
	switch {
	case id == 0: // Subnet-Router anycast (RFC 4291, 2.6.1)
		return true
	case id>>24 == 0x02005efffe: // of IANA's Ethernet block: Proxy Mobile IPv6 (RFC 6543), and what is reserved around it
		return true
	}
	return id >= 0xfdffffffffffff80 && id <= 0xfdffffffffffffff // anycast (RFC 2526)
}

// neutral is a with two octets of its interface identifier changed so that translation between v4 and a, toward any address behind p,
// leaves the sum of the addresses as it is. False where p does not hold IPv4 addresses in whole 16-bit words: then no address does that for all.
func neutral(a netip.Addr, p pref64.Prefix, v4 netip.Addr) (netip.Addr, bool) {
	if p.Bits() != 32 && p.Bits() != 96 {
		return a, false
	}
	six, four, plat := a.As16(), v4.As4(), p.Prefix().Addr().As16()
	six[12], six[13] = 0, 0
	rest := checksum.Add(checksum.Addr6(&six), checksum.Addr6(&plat))
	binary.BigEndian.PutUint16(six[12:], checksum.Sub(checksum.Addr4(&four), rest))
	return netip.AddrFrom16(six), true
}

// candidate is a /64 of the uplink in which an address of ours may be made.
type candidate struct {
	prefix     netip.Prefix
	deprecated bool
	byHand     bool // nobody announces it; an address of the host was set by hand
	ofRouter   bool // who announced it announced the PREF64 as well
}

// bySourceSelection orders candidates as RFC 6724, 5 chooses a source toward plat, with the longest match (rule 8) behind what byClass says.
func bySourceSelection(all []candidate, plat netip.Addr) {
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(byClass(a, b, plat), cmp.Compare(commonBits(b.prefix.Addr(), plat), commonBits(a.prefix.Addr(), plat)), a.prefix.Compare(b.prefix))
	})
}

// byClass is how candidates differ that do not work equally well: of the PREF64's router (rule 5.5), preferred before deprecated (rule 3), of
// the same label (rule 6). What routers announce for autoconfiguration goes before what was set by hand, unless that has the better label: from
// elsewhere nothing comes back.
func byClass(a, b candidate, plat netip.Addr) int {
	return cmp.Or(
		compareBool(a.ofRouter, b.ofRouter),
		compareBool(!a.deprecated, !b.deprecated),
		compareBool(label(a.prefix.Addr()) == label(plat), label(b.prefix.Addr()) == label(plat)),
		compareBool(!a.byHand, !b.byHand),
	)
}

// compareBool sorts the true one first.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

type labelled struct {
	prefix netip.Prefix
	label  int
}

// labels is the policy table of RFC 6724, 2.1, as far as global addresses fall under it; the most specific first.
var labels = []labelled{
	{netip.MustParsePrefix("2001::/32"), 5},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("3ffe::/16"), 12},
	{netip.MustParsePrefix("fc00::/7"), 13},
	{netip.MustParsePrefix("::/0"), 1},
}

func label(a netip.Addr) int {
	return labels[slices.IndexFunc(labels, func(row labelled) bool { return row.prefix.Contains(a) })].label
}

// commonBits is how many leading bits a and b share, at most 64: those of the interface identifier say nothing (RFC 6724, 2.2).
func commonBits(a, b netip.Addr) int {
	n := 0
	for n < 64 {
		p, err := a.Prefix(n + 1)
		if err != nil || !p.Contains(b) {
			break
		}
		n++
	}
	return n
}
