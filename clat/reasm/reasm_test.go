package reasm

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// product is what the daemon uses.
var product = Limits{Datagrams: 64, Octets: 1 << 20}

// withRoom is a Reassembler with room for n datagrams and p pages.
func withRoom(n, p int) *Reassembler {
	r := New(Limits{Datagrams: n, Octets: 1 << 30})
	r.pages = p
	return r
}

func head(version uint8) []byte {
	if version == 4 {
		return bytes.Repeat([]byte{0x45}, 20)
	}
	return bytes.Repeat([]byte{0x60}, 48)
}

// payload is octets from..to-1 of what datagram k carries.
func payload(k frame.Datagram, from, to int) []byte {
	b := make([]byte, to-from)
	for i := range b {
		at := from + i
		b[i] = byte(at) ^ byte(at>>8)*31 ^ byte(k.ID)*7 ^ k.Src[0]
	}
	return b
}

func piece(k frame.Datagram, from, to int, more bool) *frame.Fragment {
	fr := &frame.Fragment{Datagram: k, Offset: from, More: more, Payload: payload(k, from, to)}
	if from == 0 {
		fr.Head = head(k.Version)
	}
	return fr
}

func take(n int) *frame.Frame {
	f := new(frame.Frame)
	f.Wrap(make([]byte, frame.Headroom+n), frame.Headroom, n)
	return f
}

// desk gives fragments to a Reassembler and keeps the books: each fragment is part of a whole, refused, dropped later, or held.
type desk struct {
	*Reassembler
	now                       uint32
	given, completed, refused int
}

// give gives fr, and closes the books.
func (d *desk) give(t testing.TB, fr *frame.Fragment) (whole *frame.Frame, reason clat.DropReason) {
	t.Helper()
	others := 0
	if of := d.find(&fr.Datagram); of != nil && !of.due(d.now) && (fr.Offset != 0 || fr.More) {
		others = of.kept
	}
	whole, reason = d.Add(fr, d.now, take)
	d.given++
	if whole != nil {
		d.completed += others + 1
	}
	if reason != clat.DropNone {
		d.refused++
	}
	d.balance(t)
	return whole, reason
}

// add says what became of fr: "held", "whole", or why it was refused. The octets of a whole must be those of payload.
func (d *desk) add(t testing.TB, fr *frame.Fragment) string {
	t.Helper()
	whole, reason := d.give(t, fr)
	switch {
	case whole == nil && reason == clat.DropNone:
		return "held"
	case whole == nil:
		return reason.String()
	}
	h := head(fr.Version)
	if want := append(h, payload(fr.Datagram, 0, whole.Len()-len(h))...); !bytes.Equal(whole.Bytes(), want) || !whole.Joined {
		t.Fatalf("the whole has %d octets that are not those of its fragments, or is not marked as joined: %v", whole.Len(), whole.Joined)
	}
	return "whole"
}

func (d *desk) balance(t testing.TB) {
	t.Helper()
	held, pages := 0, 0
	for _, of := range d.held {
		held += of.kept
		for _, p := range of.pages {
			if p != nil {
				pages++
			}
		}
	}
	dropped := 0
	var totals clat.Totals
	d.AddTo(&totals)
	for _, way := range totals.Drops {
		for _, n := range way {
			dropped += int(n)
		}
	}
	if d.completed+d.refused+dropped+held != d.given {
		t.Fatalf("%d fragments given, but %d completed, %d refused, %d dropped, %d held", d.given, d.completed, d.refused, dropped, held)
	}
	if len(d.held) > 0 && (pages+len(d.free) != d.pages || len(d.held)+len(d.unused) != d.limits.Datagrams) {
		t.Fatalf("%d pages in use and %d free of %d, %d datagrams and %d unused of %d",
			pages, len(d.free), d.pages, len(d.held), len(d.unused), d.limits.Datagrams)
	}
}

// dropped is what AddTo says, as text.
func (d *desk) dropped() string {
	var totals clat.Totals
	d.AddTo(&totals)
	var s []string
	for way, reasons := range totals.Drops {
		for reason, n := range reasons {
			if n > 0 {
				s = append(s, fmt.Sprintf("%v %v %d", clat.Direction(way), clat.DropReason(reason), n))
			}
		}
	}
	return strings.Join(s, ", ")
}

// scripts are lines of what arrives and what becomes of it. "0-16+" is octets 0 to 15 with more to follow, "16-20" the last ones,
// "!" says that octets differ from those of the others, "B:" that they are of another datagram, and "@60" sets the clock.
var scripts = []struct{ name, script, dropped string }{
	{"in order", "0-16+ held, 16-32+ held, 32-37 whole", ""},
	{"in reverse", "32-37 held, 16-32+ held, 0-16+ whole", ""},
	{"the middle last", "0-16+ held, 32-37 held, 16-32+ whole", ""},
	{"two datagrams in turn", "0-16+ held, B:0-8+ held, B:8-16 whole, 16-32 whole", ""},
	{"across pages", "2040-4104+ held, 4104-4105 held, 0-2040+ whole", ""},
	{"up to the edge of a page", "0-2048+ held, 2048-4096 whole", ""},
	{"the same datagram again", "0-8+ held, 8-16 whole, 8-16 held, 0-8+ whole", ""},
	{"a datagram of one fragment", "0-20 whole", ""},
	{"RFC 6946, 4: a datagram of one fragment beside others of the same name", "0-16+ held, 0-20 whole, 16-24 whole", ""},

	{"the largest datagram", "0-65512+ held, 65512-65515 whole", ""},
	{"one octet more than the largest datagram", "0-65512+ held, 65512-65516 fragment, 65512-65515 whole", ""},
	{"an offset between units", "0-16+ held, 12-20 fragment, 16-20 whole", ""},
	{"a length between units, not the last", "0-16+ held, 16-20+ fragment, 16-20 whole", ""},
	{"empty fragments", "0-16+ held, 16-16+ fragment, 16-16 fragment, 0-0+ fragment, 0-0 fragment, 16-20 whole", ""},

	{"a copy of the first", "0-16+ held, 0-16+ fragment-overlap, 16-20 whole", ""},
	{"a copy of the last", "16-20 held, 16-20 fragment-overlap, 0-16+ whole", ""},
	{"a copy of one in the middle", "0-16+ held, 16-32+ held, 32-40+ held, 16-32+ fragment-overlap, 40-48 whole", ""},
	{"a copy across words and pages", "512-4096+ held, 512-4096+ fragment-overlap, 0-512+ held, 4096-4097 whole", ""},
	{"a copy whose neighbours are held too", "4096-8192+ held, 0-4096+ held, 4096-8192+ fragment-overlap, 8192-8200 whole", ""},

	{"RFC 5722, 4: the same bounds, but other octets", "0-16+ held, 0-16+! fragment-overlap, 16-20 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: the same bounds, but other octets at the end, on a second page",
		"0-4096+ held, 0-4096+! fragment-overlap, 4096-4100 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: inside another", "0-32+ held, 8-16+ fragment-overlap, 32-36 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: around another", "8-16+ held, 0-32+ fragment-overlap, 32-36 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: over the left edge", "8-24+ held, 0-16+ fragment-overlap, 24-28 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: over the right edge", "0-16+ held, 8-24+ fragment-overlap, 24-28 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: over the edges of two", "0-16+ held, 24-40+ held, 8-32+ fragment-overlap, 40-44 fragment-overlap", "46 fragment-overlap 2"},
	{"RFC 5722, 4: the same start, shorter", "0-16+ held, 0-8+ fragment-overlap, 16-20 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: the same start, longer", "0-16+ held, 0-24+ fragment-overlap, 24-28 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: the same start, longer, where an older datagram left the octets that are missing",
		"0-24+ held, 24-32 whole, 0-16+ held, 0-24+ fragment-overlap, 24-28 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: the same start, a page longer", "0-2048+ held, 0-4096+ fragment-overlap, 4096-4100 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: the same end, a later start", "0-16+ held, 8-16+ fragment-overlap, 16-20 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: two at once", "0-16+ held, 16-32+ held, 0-32+ fragment-overlap, 32-36 fragment-overlap", "46 fragment-overlap 2"},
	{"RFC 5722, 4: the last one, with more to follow", "16-24 held, 16-24+ fragment-overlap, 0-16+ fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: the last one, with another start", "8-20 held, 16-20 fragment-overlap, 0-8+ fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: a single unit in common, far in", "0-40000+ held, 39992-40000+ fragment-overlap, 40000-40004 fragment-overlap", "46 fragment-overlap 1"},
	{"RFC 5722, 4: beside others", "0-16+ held, B:0-16+ held, 8-24+ fragment-overlap, B:16-20 whole", "46 fragment-overlap 1"},

	{"a second end behind the first", "16-24 held, 24-32 fragment, 0-16+ fragment", "46 fragment 1"},
	{"a second end before the first", "16-24 held, 8-12 fragment, 0-8+ fragment", "46 fragment 1"},
	{"the same start, another end", "16-24 held, 16-23 fragment, 0-16+ fragment", "46 fragment 1"},
	{"data behind the end", "16-24 held, 24-32+ fragment, 0-16+ fragment", "46 fragment 1"},
	{"data across the end", "16-20 held, 0-24+ fragment, 0-16+ fragment", "46 fragment 1"},
	{"an end before data", "24-32+ held, 0-8+ held, 8-16 fragment, 16-24+ fragment", "46 fragment 2"},

	{"RFC 8200, 4.5: 59 seconds after the first", "@100 0-16+ held, @159 16-20 whole", ""},
	{"RFC 8200, 4.5: 60 seconds after the first", "@100 0-16+ held, @160 16-20 held, 0-16+ whole", "46 fragment-timeout 1"},
	{"RFC 8200, 4.5: 60 seconds after the first, 1 after the last", "@100 0-16+ held, @159 16-32+ held, @160 32-36 held", "46 fragment-timeout 2"},
	{"RFC 8200, 4.5: the time of one does not end with another's",
		"@100 0-16+ held, @130 B:0-16+ held, @160 16-20 held, @189 B:16-20 whole", "46 fragment-timeout 1"},
	{"RFC 8200, 4.5: a clock that wraps", "@4294967290 0-16+ held, @53 16-20 whole, @4294967290 0-16+ held, @54 16-20 held", "46 fragment-timeout 1"},
	{"bad stays bad until the time of its first fragment ends",
		"@100 0-16+ held, @130 8-24+ fragment-overlap, @159 16-20 fragment-overlap, @160 0-16+ held, 16-20 whole", "46 fragment-overlap 1"},
}

var four = frame.Datagram{Src: [16]byte{192, 0, 0, 1}, Dst: [16]byte{198, 51, 100, 5}, ID: 77, Version: 4}

// play runs a script.
func play(t *testing.T, r *Reassembler, script string) *desk {
	d := &desk{Reassembler: r}
	for line := range strings.SplitSeq(script, ",") {
		words := strings.Fields(line)
		if clock, ok := strings.CutPrefix(words[0], "@"); ok {
			if _, err := fmt.Sscan(clock, &d.now); err != nil {
				t.Fatal(err)
			}
			words = words[1:]
		}
		k := four
		bounds, other := strings.CutPrefix(words[0], "B:")
		if other {
			k.ID++
		}
		var from, to int
		if _, err := fmt.Sscanf(bounds, "%d-%d", &from, &to); err != nil {
			t.Fatal(err)
		}
		fr := piece(k, from, to, strings.Contains(bounds, "+"))
		if strings.HasSuffix(bounds, "!") {
			fr.Payload[len(fr.Payload)-1] ^= 1
		}
		if got := d.add(t, fr); got != words[1] {
			t.Fatalf("%s: %s, want %s", words[0], got, words[1])
		}
	}
	return d
}

func TestScripts(t *testing.T) {
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			if d := play(t, New(product), s.script); d.dropped() != s.dropped {
				t.Errorf("dropped %q, want %q", d.dropped(), s.dropped)
			}
		})
	}
}

// TestAnyOrder cuts a datagram of each length up in some way and gives the fragments in some order, with copies among them.
func TestAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	d := &desk{Reassembler: New(product)}
	for i := range 2000 {
		k := four
		k.ID = uint32(i)
		total := 9 + rng.IntN(12000)
		if i%100 == 0 {
			total = maxPayload
		}
		var fragments []*frame.Fragment
		for from := 0; from < total; {
			to := min(from+8*(1+rng.IntN(400)), total)
			fragments = append(fragments, piece(k, from, to, to < total))
			from = to
		}
		rng.Shuffle(len(fragments), func(a, b int) { fragments[a], fragments[b] = fragments[b], fragments[a] })
		for at, fr := range fragments {
			want := "held"
			if at == len(fragments)-1 {
				want = "whole"
			}
			if at > 0 {
				if got := d.add(t, fragments[rng.IntN(at)]); got != "fragment-overlap" {
					t.Fatalf("a copy: %s", got)
				}
			}
			if got := d.add(t, fr); got != want {
				t.Fatalf("fragment %d of %d: %s, want %s", at, len(fragments), got, want)
			}
		}
	}
}

// TestImpossible gives what cannot come of a packet: it is refused, and nothing is touched.
func TestImpossible(t *testing.T) {
	long := piece(four, 0, 16, true)
	long.Head = make([]byte, maxHead+1)
	for name, fr := range map[string]*frame.Fragment{
		"head":            long,
		"negative offset": {Datagram: four, Offset: -8, Payload: make([]byte, 8)},
		"huge offset":     {Datagram: four, Offset: math.MaxInt - 7, Payload: make([]byte, 16)},
		"huge length":     {Datagram: four, Offset: 8, Payload: make([]byte, 1<<17)},
	} {
		d := play(t, New(product), "16-20 held")
		if got := d.add(t, fr); got != "fragment" {
			t.Errorf("%s: %s", name, got)
		}
		if got := d.add(t, piece(four, 0, 16, true)); got != "whole" {
			t.Errorf("%s: the rest of its datagram: %s", name, got)
		}
	}
}

// TestKeys mixes datagrams that differ in one thing each, in no case to be put together.
func TestKeys(t *testing.T) {
	keys := []frame.Datagram{four}
	for _, change := range []func(*frame.Datagram){
		func(k *frame.Datagram) { k.Version = 6 },
		func(k *frame.Datagram) { k.Src[3]++ },
		func(k *frame.Datagram) { k.Src[15]++ },
		func(k *frame.Datagram) { k.Dst[3]++ },
		func(k *frame.Datagram) { k.Dst[15]++ },
		func(k *frame.Datagram) { k.ID += 1 << 16 },
		func(k *frame.Datagram) { k.ID += 1 << 31 },
		func(k *frame.Datagram) { k.Src, k.Dst = k.Dst, k.Src },
	} {
		k := four
		change(&k)
		keys = append(keys, k)
	}
	d := &desk{Reassembler: New(product)}
	for _, k := range keys {
		if got := d.add(t, piece(k, 0, 16, true)); got != "held" {
			t.Fatalf("first of %v: %s", k, got)
		}
	}
	for _, k := range slices.Backward(keys) {
		if got := d.add(t, piece(k, 16, 20, false)); got != "whole" {
			t.Fatalf("last of %v: %s", k, got)
		}
	}
}

// TestDirections counts each family's fragments as what they are.
func TestDirections(t *testing.T) {
	d := &desk{Reassembler: New(product)}
	six := four
	six.Version = 6
	d.add(t, piece(four, 0, 16, true))
	d.add(t, piece(six, 0, 16, true))
	d.add(t, piece(six, 16, 32, true))
	d.Expire(59)
	if got := d.dropped(); got != "" {
		t.Errorf("after 59 seconds %q", got)
	}
	d.Expire(60)
	if got := d.dropped(); got != "46 fragment-timeout 1, 64 fragment-timeout 2" {
		t.Errorf("after 60 seconds %q", got)
	}
	totals := clat.Totals{}
	totals.Drops[clat.To6][clat.DropFragmentTimeout] = 10
	if d.AddTo(&totals); totals.Drops[clat.To6][clat.DropFragmentTimeout] != 11 {
		t.Errorf("AddTo makes 10 and 1 %d", totals.Drops[clat.To6][clat.DropFragmentTimeout])
	}
}

// from is datagram id of source s.
func from(s, id int) frame.Datagram {
	return frame.Datagram{Src: [16]byte{10, byte(s >> 8), byte(s)}, Dst: four.Dst, ID: uint32(id), Version: 4}
}
