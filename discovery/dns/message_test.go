package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// edit changes an answer before it is sent.
type edit func(*dnsmessage.Message)

// respond is the answer to a packed query, changed by edits.
func respond(query []byte, edits ...edit) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		panic(err)
	}
	m.Response, m.RecursionAvailable = true, true
	for _, e := range edits {
		e(&m)
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

func header(owner string, ttl uint32) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(owner), Class: dnsmessage.ClassINET, TTL: ttl}
}

func answer(owner string, ttl uint32, body dnsmessage.ResourceBody) edit {
	return func(m *dnsmessage.Message) {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: header(owner, ttl), Body: body})
	}
}

func aaaaOf(owner string, ttl uint32, as string) edit {
	return func(m *dnsmessage.Message) {
		for _, a := range addrs(as) {
			answer(owner, ttl, &dnsmessage.AAAAResource{AAAA: a.As16()})(m)
		}
	}
}

func aaaa(ttl uint32, as string) edit { return aaaaOf(ipv4only, ttl, as) }

func cname(owner, target string, ttl uint32) edit {
	return answer(owner, ttl, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(target)})
}

func soa(ttl, minimum uint32) edit {
	return func(m *dnsmessage.Message) {
		m.Authorities = append(m.Authorities, dnsmessage.Resource{Header: header("ipv4only.arpa.", ttl), Body: &dnsmessage.SOAResource{
			NS: dnsmessage.MustNewName("sns.dns.icann.org."), MBox: dnsmessage.MustNewName("noc.dns.icann.org."), MinTTL: minimum,
		}})
	}
}

func withRCode(c dnsmessage.RCode) edit { return func(m *dnsmessage.Message) { m.RCode = c } }

// says is a reply as text.
func says(r reply, err error) string {
	switch {
	case errors.Is(err, errForeign):
		return "foreign"
	case errors.Is(err, errTruncated):
		return "truncated"
	case err != nil:
		return "malformed"
	}
	return fmt.Sprint(r.rcode, " ", r.aaaa, " ", r.ttl)
}

func TestParse(t *testing.T) {
	opaque := func(typ dnsmessage.Type, n int) *dnsmessage.UnknownResource {
		return &dnsmessage.UnknownResource{Type: typ, Data: make([]byte, n)}
	}
	var loop []edit
	for i := range 40 {
		loop = append(loop, cname(fmt.Sprintf("n%d.example.", i), fmt.Sprintf("n%d.example.", i+1), 60))
	}
	loop = append(loop, cname(ipv4only, "n0.example.", 60), aaaaOf("n40.example.", 60, "64:ff9b::c000:aa"))

	for _, tt := range []struct {
		name  string
		edits []edit
		want  string
	}{
		{"AAAA", []edit{aaaa(300, "64:ff9b::c000:aa 64:ff9b::c000:ab")}, "RCodeSuccess [64:ff9b::c000:aa 64:ff9b::c000:ab] 5m0s"},
		{"the least TTL counts", []edit{aaaa(300, "64:ff9b::c000:aa"), aaaa(200, "64:ff9b::c000:ab")},
			"RCodeSuccess [64:ff9b::c000:aa 64:ff9b::c000:ab] 3m20s"},
		{"TTL with its highest bit set is 0", []edit{aaaa(1<<31, "64:ff9b::c000:aa")}, "RCodeSuccess [64:ff9b::c000:aa] 0s"},
		{"names differ by case", []edit{aaaaOf("IPv4Only.ARPA.", 60, "64:ff9b::c000:aa")}, "RCodeSuccess [64:ff9b::c000:aa] 1m0s"},

		// RFC 8880, 7.1: no validation. Neither AD nor signatures, missing or wrong, make a difference.
		{"AD is 0 and no RRSIG", []edit{aaaa(60, "64:ff9b::c000:aa")}, "RCodeSuccess [64:ff9b::c000:aa] 1m0s"},
		{"AD is 1", []edit{aaaa(60, "64:ff9b::c000:aa"), func(m *dnsmessage.Message) { m.AuthenticData = true }},
			"RCodeSuccess [64:ff9b::c000:aa] 1m0s"},
		{"RRSIG that signs nothing", []edit{aaaa(60, "64:ff9b::c000:aa"), answer(ipv4only, 5, opaque(46, 40))},
			"RCodeSuccess [64:ff9b::c000:aa] 1m0s"},

		{"CNAME", []edit{cname(ipv4only, "nat64.example.", 90), aaaaOf("nat64.example.", 300, "64:ff9b::c000:aa")},
			"RCodeSuccess [64:ff9b::c000:aa] 1m30s"},
		{"CNAMEs in any order", []edit{aaaaOf("c.example.", 300, "64:ff9b::c000:aa"), cname("B.example.", "c.example.", 90),
			cname(ipv4only, "b.example.", 600)}, "RCodeSuccess [64:ff9b::c000:aa] 1m30s"},
		{"CNAME loop", []edit{cname(ipv4only, "b.example.", 60), cname("b.example.", ipv4only, 60)}, "RCodeSuccess [] -1ns"},
		{"CNAME to itself", []edit{cname(ipv4only, ipv4only, 60)}, "RCodeSuccess [] -1ns"},
		{"CNAMEs too many", loop, "RCodeSuccess [] -1ns"},
		{"CNAME without AAAA", []edit{cname(ipv4only, "b.example.", 60), soa(900, 40)}, "RCodeSuccess [] 40s"},

		{"other records are passed over", []edit{
			answer(ipv4only, 1, &dnsmessage.AResource{A: [4]byte{192, 0, 0, 170}}),
			answer(ipv4only, 1, &dnsmessage.TXTResource{TXT: []string{"AAAA"}}),
			answer(ipv4only, 1, opaque(65280, 3)),
			aaaaOf("elsewhere.example.", 1, "2001:db8::c000:aa"),
			aaaa(60, "64:ff9b::c000:aa")}, "RCodeSuccess [64:ff9b::c000:aa] 1m0s"},
		{"AAAA of 4 octets", []edit{answer(ipv4only, 1, opaque(dnsmessage.TypeAAAA, 4)), aaaa(60, "64:ff9b::c000:aa")},
			"RCodeSuccess [64:ff9b::c000:aa] 1m0s"},
		{"AAAA of 4 octets alone", []edit{answer(ipv4only, 60, opaque(dnsmessage.TypeAAAA, 4))}, "RCodeSuccess [] -1ns"},
		{"AAAA of class CHAOS", []edit{aaaa(60, "64:ff9b::c000:aa"),
			func(m *dnsmessage.Message) { m.Answers[0].Header.Class = dnsmessage.ClassCHAOS }}, "RCodeSuccess [] -1ns"},

		{"NODATA, the SOA's TTL is less", []edit{soa(100, 3600)}, "RCodeSuccess [] 1m40s"},
		{"NODATA, the SOA's MINIMUM is less", []edit{soa(3600, 200)}, "RCodeSuccess [] 3m20s"},
		{"NODATA without SOA", nil, "RCodeSuccess [] -1ns"},
		{"NXDOMAIN", []edit{withRCode(dnsmessage.RCodeNameError), soa(100, 100)}, "RCodeNameError [] 1m40s"},
		{"NXDOMAIN with AAAA", []edit{withRCode(dnsmessage.RCodeNameError), aaaa(60, "64:ff9b::c000:aa")}, "RCodeNameError [] -1ns"},
		{"SERVFAIL", []edit{withRCode(dnsmessage.RCodeServerFailure)}, "RCodeServerFailure [] -1ns"},
		{"TC", []edit{aaaa(60, "64:ff9b::c000:aa"), func(m *dnsmessage.Message) { m.Truncated = true }}, "truncated"},

		{"another ID", []edit{func(m *dnsmessage.Message) { m.ID++ }}, "foreign"},
		{"a query", []edit{func(m *dnsmessage.Message) { m.Response = false }}, "foreign"},
		{"an update", []edit{func(m *dnsmessage.Message) { m.OpCode = 5 }}, "foreign"},
		{"another name", []edit{func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("ipv6only.arpa.") }}, "foreign"},
		{"another type", []edit{func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeA }}, "foreign"},
		{"another class", []edit{func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }}, "foreign"},
		{"no question", []edit{func(m *dnsmessage.Message) { m.Questions = nil }}, "foreign"},
		{"two questions", []edit{func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }}, "foreign"},
		{"question in capitals", []edit{aaaa(60, "64:ff9b::c000:aa"),
			func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("IPV4ONLY.arpa.") }},
			"RCodeSuccess [64:ff9b::c000:aa] 1m0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, q, err := query()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, says(parse(respond(q, tt.edits...), id))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseCutShort(t *testing.T) {
	id, q, err := query()
	if err != nil {
		t.Fatal(err)
	}
	full := respond(q, cname(ipv4only, "nat64.example.", 60), aaaaOf("nat64.example.", 60, "64:ff9b::c000:aa"), soa(60, 60))
	for n := range full {
		got := says(parse(full[:n], id))
		want := "malformed"
		if n < len(q) {
			want = "foreign"
		}
		// Behind the last AAAA record nothing is looked at any more.
		if soaAt := len(respond(q, cname(ipv4only, "nat64.example.", 60), aaaaOf("nat64.example.", 60, "64:ff9b::c000:aa"))); n >= soaAt {
			want = "RCodeSuccess [64:ff9b::c000:aa] 1m0s"
		}
		if got != want {
			t.Errorf("first %d octets: %s, want %s", n, got, want)
		}
	}
}

// RFC 7050, 3: fully qualified, checking not disabled; and nothing else that would change what a DNS64 does.
func TestQuery(t *testing.T) {
	ids := map[uint16]bool{}
	for range 32 {
		id, msg, err := query()
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
		want := binary.BigEndian.AppendUint16(nil, id)
		want = append(want, 0x01, 0x00) // RD=1; QR, OPCODE, AA, TC, RA, Z, AD, CD and RCODE are 0
		want = append(want, 0, 1, 0, 0, 0, 0, 0, 0)
		want = append(want, "\x08ipv4only\x04arpa\x00\x00\x1c\x00\x01"...)
		if diff := cmp.Diff(want, msg); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	if len(ids) < 30 {
		t.Errorf("%d different IDs in 32 queries", len(ids))
	}
}

func FuzzAnswer(f *testing.F) {
	const id = 0x4664
	q := append([]byte{id >> 8, id & 0xff}, "\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x08ipv4only\x04arpa\x00\x00\x1c\x00\x01"...)
	for _, edits := range [][]edit{
		{aaaa(60, "64:ff9b::c000:aa 64:ff9b::c000:ab")},
		{aaaa(60, "2001:db8:c000:aa:c0:0:aa00:0 2001:db8:c000:aa:c0:0:ab00:0")},
		{cname(ipv4only, "nat64.example.", 60), aaaaOf("nat64.example.", 60, "64:ff9b::c000:aa")},
		{soa(60, 60), withRCode(dnsmessage.RCodeNameError)},
		{withRCode(dnsmessage.RCodeRefused)},
		{cname(ipv4only, "\x1b[2J\r\n\xff.example.", 60), aaaaOf("\x1b[2J\r\n\xff.example.", 60, "2001:db8::1")},
	} {
		f.Add(respond(q, edits...))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		r, err := parse(msg, id)
		if err != nil {
			if len(r.aaaa) > 0 {
				t.Fatalf("addresses %v beside the error %v", r.aaaa, err)
			}
			isFitToPrint(t, err)
			return
		}
		a := r.judge()
		isFitToPrint(t, a.Err)
		if (a.Err == nil) != (len(a.Prefixes) > 0) || len(a.Prefixes) > maxPrefixes {
			t.Fatalf("%d prefixes, error %v", len(a.Prefixes), a.Err)
		}
		if definite := a.Err == nil || errors.Is(a.Err, ErrNoDNS64); definite && (a.Lifetime < minLifetime || a.Lifetime > maxLifetime) {
			t.Fatalf("lifetime is %v", a.Lifetime)
		}
		if a.TTL < 0 || a.TTL > time.Duration(1<<31)*time.Second {
			t.Fatalf("TTL is %v", a.TTL)
		}
		for _, p := range a.Prefixes {
			if !carriesWellKnown(p.Extract, r.aaaa) {
				t.Fatalf("no record of %v holds 192.0.0.170 or .171 behind %v", r.aaaa, p)
			}
		}
	})
}

// isFitToPrint fails where an error holds what came from the network as it came.
func isFitToPrint(t *testing.T, err error) {
	t.Helper()
	if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Fatalf("error is %q", err)
	}
}

func carriesWellKnown(extract func([16]byte) ([4]byte, bool), aaaa []netip.Addr) bool {
	for _, a := range aaaa {
		if v4, ok := extract(a.As16()); ok && (v4 == [4]byte{192, 0, 0, 170} || v4 == [4]byte{192, 0, 0, 171}) {
			return true
		}
	}
	return false
}
