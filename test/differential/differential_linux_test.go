package differential

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// most is how many differences that nothing explains are printed.
const most = 5

func TestTAYGA(t *testing.T) {
	peers.NeedRoot(t)
	peers.Find(t, "tayga")
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		peers.Skip(t, "no TUN devices here: %v", err)
	}
	lab, err := netlab.New()
	if err != nil {
		peers.Skip(t, "%v", err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	tayga, uclat := startTAYGA(t, lab), startUclat(t, lab)

	t.Logf("seed %d: -args -seed %d has the same packets again", *seed, *seed)
	r := report{map[string]*count{}, map[string]int{}}
	given, unexplained := map[uint16]bool{}, 0
	for s := range samples(*seed, *packets) {
		x := &trial{
			sample: s, v: look(s.in[0]), tayga: ask(t, tayga, s, s.in), uclat: ask(t, uclat, s, s.in),
			ask: func(in ...[]byte) [][]byte { return ask(t, tayga, s, in) }, given: given,
		}
		if !s.answered && slices.ContainsFunc(x.uclat, isOwnError) {
			t.Fatalf("%s draws an ICMP error, of which the program sends only so many: it belongs among those that wait", s)
		}
		for _, p := range x.uclat {
			if wrong := faultOfOurs(p); wrong != "" {
				t.Errorf("%s: what uclat sends is wrong: %s\n%s%s", s, wrong, show("sent", x.in), show("uclat", x.uclat))
			}
		}
		want, used := x.explain()
		if same(want, x.uclat) {
			r.add(x.kind, used)
			continue
		}
		r.kind(x.kind).unexplained++
		if unexplained++; unexplained <= most {
			t.Errorf("%s: nothing explains the difference%s\n%s%s%s%s", s, where(want, x.uclat), show("sent", x.in), show("TAYGA", x.tayga),
				show("expected, after ["+strings.Join(used, "; ")+"]", want), show("uclat", x.uclat))
		}
	}
	if unexplained > most {
		t.Errorf("%d differences in all", unexplained)
	}
	t.Logf("\n%s", r)
	if *packets >= usual {
		for _, e := range allow {
			if r.entries[e.name] == 0 {
				t.Errorf("no longer needed: %q (%s)", e.name, e.clause)
			}
		}
	}
}

func (s sample) String() string {
	return fmt.Sprintf("packet %d (%s) of seed %d", s.number, s.kind, *seed)
}

// ask is what a translator makes of packets for a sample.
func ask(t *testing.T, tr *translator, s sample, in [][]byte) [][]byte {
	t.Helper()
	outs, err := tr.exchange(in...)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return outs
}

// report counts what became of the packets.
type report struct {
	kinds   map[string]*count
	entries map[string]int
}

type count struct{ identical, explained, unexplained int }

func (r *report) kind(name string) *count {
	if r.kinds[name] == nil {
		r.kinds[name] = &count{}
	}
	return r.kinds[name]
}

func (r *report) add(kind string, used []string) {
	if len(used) == 0 {
		r.kind(kind).identical++
		return
	}
	r.kind(kind).explained++
	for _, name := range used {
		r.entries[name]++
	}
}

func (r report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	total := count{}
	line := func(name string, c count) {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t  %s\n", c.identical+c.explained+c.unexplained, c.identical, c.explained, c.unexplained, name)
	}
	fmt.Fprintln(w, "packets\tidentical\texplained\tnot\t")
	for _, name := range slices.Sorted(maps.Keys(r.kinds)) {
		c := *r.kinds[name]
		line(name, c)
		total.identical += c.identical
		total.explained += c.explained
		total.unexplained += c.unexplained
	}
	line("in all", total)
	w.Flush()
	b.WriteString("\nexplained by\n")
	for _, e := range allow {
		fmt.Fprintf(w, "%d\t  %s (%s)\n", r.entries[e.name], e.name, e.clause)
	}
	w.Flush()
	return b.String()
}

// where is where packets begin to differ.
func where(want, got [][]byte) string {
	if len(want) != len(got) {
		return fmt.Sprintf(" of %d packets and %d", len(want), len(got))
	}
	for i := range want {
		for at := range min(len(want[i]), len(got[i])) {
			if want[i][at] != got[i][at] {
				return fmt.Sprintf(" at octet %d of packet %d", at, i)
			}
		}
	}
	return " in length"
}

// show is packets as octets, and as gopacket reads them.
func show(what string, ps [][]byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d packets\n", what, len(ps))
	for _, p := range ps {
		first := layers.LayerTypeIPv4
		if p[0]>>4 == 6 {
			first = layers.LayerTypeIPv6
		}
		fmt.Fprintf(&b, "%x\n%s\n", p, gopacket.NewPacket(p, first, gopacket.Default))
	}
	return b.String()
}
