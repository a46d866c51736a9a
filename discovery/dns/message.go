package dns

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	ipv4only  = "ipv4only.arpa."
	maxCNAMEs = 16 // of one answer; a longer chain is a loop, or meant to cost us
)

var (
	errForeign   = errors.New("it is no answer to the question asked")
	errTruncated = errors.New("the answer is truncated")
)

// query is a new question for the AAAA records of ipv4only.arpa with an ID nobody can guess. RD is set; CD is not, because a DNS64
// synthesises nothing for those who validate themselves (RFC 6147, 5.5); there is no EDNS, hence no DO.
func query() (id uint16, msg []byte, err error) {
	var random [2]byte
	rand.Read(random[:]) // ends the process rather than fail
	id = binary.BigEndian.Uint16(random[:])
	name, err := dnsmessage.NewName(ipv4only)
	if err != nil {
		return 0, nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}},
	}
	msg, err = m.Pack()
	return id, msg, err
}

// reply is what a resolver answered.
type reply struct {
	rcode dnsmessage.RCode
	aaaa  []netip.Addr
	// ttl is the least of the AAAA records and of the CNAMEs that lead to them. Without AAAA records it is how long that answer may
	// be kept: the lesser of the SOA's TTL and its MINIMUM (RFC 2308, 5), or -1 where there is no SOA.
	ttl time.Duration
}

// parse reads the answer to the query with that ID. It fails with errForeign where msg answers something else, with errTruncated
// where the resolver asks for TCP, and otherwise where msg is malformed. No DNSSEC: the zone is an insecure delegation, and what a
// DNS64 says of it could not be validated anyway (RFC 8880, 7.1).
func parse(msg []byte, id uint16) (reply, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || !h.Response || h.ID != id || h.OpCode != 0 {
		return reply{}, errForeign
	}
	qs, err := p.AllQuestions()
	if err != nil || len(qs) != 1 || fold(qs[0].Name) != ipv4only || qs[0].Type != dnsmessage.TypeAAAA || qs[0].Class != dnsmessage.ClassINET {
		return reply{}, errForeign
	}
	if h.Truncated {
		return reply{}, errTruncated
	}
	r := reply{rcode: h.RCode, ttl: -1}
	rrs, err := answers(&p)
	if err != nil {
		return reply{}, malformed(err)
	}
	if h.RCode == dnsmessage.RCodeSuccess {
		r.aaaa, r.ttl = rrs.follow(ipv4only)
	}
	if len(r.aaaa) == 0 {
		if r.ttl, err = negativeTTL(&p); err != nil {
			return reply{}, malformed(err)
		}
	}
	return r, nil
}

func malformed(err error) error { return fmt.Errorf("the answer is malformed: %w", err) }

// records are those of an answer that matter, by their owner; of other types and classes nothing is kept.
type records struct {
	aaaa  map[string][]netip.Addr
	cname map[string]string
	ttl   map[string]time.Duration // the least of an owner
}

func answers(p *dnsmessage.Parser) (records, error) {
	rrs := records{aaaa: map[string][]netip.Addr{}, cname: map[string]string{}, ttl: map[string]time.Duration{}}
	for {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return rrs, nil
		}
		if err != nil {
			return rrs, err
		}
		owner := fold(h.Name)
		switch {
		case h.Class == dnsmessage.ClassINET && h.Type == dnsmessage.TypeAAAA && h.Length == 16:
			rr, err := p.AAAAResource()
			if err != nil {
				return rrs, err
			}
			rrs.aaaa[owner] = append(rrs.aaaa[owner], netip.AddrFrom16(rr.AAAA))
			rrs.lower(owner, h.TTL)
		case h.Class == dnsmessage.ClassINET && h.Type == dnsmessage.TypeCNAME:
			rr, err := p.CNAMEResource()
			if err != nil {
				return rrs, err
			}
			rrs.cname[owner] = fold(rr.CNAME)
			rrs.lower(owner, h.TTL)
		default:
			if err := p.SkipAnswer(); err != nil {
				return rrs, err
			}
		}
	}
}

func (rrs records) lower(owner string, ttl uint32) {
	d := seconds(ttl)
	if have, ok := rrs.ttl[owner]; ok {
		d = min(d, have)
	}
	rrs.ttl[owner] = d
}

// follow returns the AAAA records of name, or of what it is a CNAME of, and the least TTL on the way.
func (rrs records) follow(name string) ([]netip.Addr, time.Duration) {
	ttl, known := rrs.ttl[name]
	for hop := 0; known && hop <= maxCNAMEs; hop++ {
		ttl = min(ttl, rrs.ttl[name])
		if aaaa := rrs.aaaa[name]; len(aaaa) > 0 {
			return aaaa, ttl
		}
		name = rrs.cname[name]
		_, known = rrs.ttl[name]
	}
	return nil, -1
}

// negativeTTL is how long "no such record" may be kept; -1 where the resolver does not say.
func negativeTTL(p *dnsmessage.Parser) (time.Duration, error) {
	for {
		h, err := p.AuthorityHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return -1, nil
		}
		if err != nil {
			return -1, err
		}
		if h.Class == dnsmessage.ClassINET && h.Type == dnsmessage.TypeSOA {
			soa, err := p.SOAResource()
			if err != nil {
				return -1, err
			}
			return min(seconds(h.TTL), seconds(soa.MinTTL)), nil
		}
		if err := p.SkipAuthority(); err != nil {
			return -1, err
		}
	}
}

// seconds is a TTL; one with its highest bit set counts as 0 (RFC 2181, 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// fold is a name in lower case, ASCII only (RFC 4343).
func fold(n dnsmessage.Name) string {
	b := append([]byte(nil), n.Data[:n.Length]...)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
