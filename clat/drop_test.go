package clat

import "testing"

// Each reason has a name of its own and a meaning: they are what users see of it.
func TestEveryReasonHasItsName(t *testing.T) {
	seen := map[string]DropReason{}
	for r := range NumDropReasons {
		if r.String() == "" || r.Meaning() == "" {
			t.Errorf("reason %d: name %q, meaning %q", r, r.String(), r.Meaning())
		}
		if other, ok := seen[r.String()]; ok {
			t.Errorf("reasons %d and %d are both %q", other, r, r.String())
		}
		seen[r.String()] = r
	}
	if got := NumDropReasons.String(); got != "unknown" {
		t.Errorf("beyond the last: %q", got)
	}
}

func TestCountersAddUp(t *testing.T) {
	var a, b Counters
	a.Packets[To6].Add(3)
	b.Packets[To6].Add(4)
	b.Drops[To4][DropTTL].Add(5)
	var sum Totals
	a.AddTo(&sum)
	b.AddTo(&sum)
	if sum.Packets[To6] != 7 || sum.Drops[To4][DropTTL] != 5 {
		t.Errorf("%+v", sum)
	}
}
