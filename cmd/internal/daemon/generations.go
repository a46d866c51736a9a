package daemon

import (
	"fmt"
	"slices"
	"strings"

	"uclat/clat/policy"
)

// connections says what a new plan means for connections of the host, as one line; empty where it means nothing.
func connections(was, is policy.Plan) string {
	if !was.On || !is.On || len(was.Generations) == 0 || len(is.Generations) == 0 { // a Router has none
		return ""
	}
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, g := range was.Generations {
		i := slices.IndexFunc(is.Generations, func(now policy.Generation) bool { return now.IPv4 == g.IPv4 })
		switch {
		case i < 0 && g.Old.IsZero():
			say("those of %v are lost", g.IPv4.Addr())
		case i < 0:
			say("%v is no longer an address of this host: it was old", g.IPv4.Addr())
		case !g.IPv6.IsValid(): // they were lost before
		case g.IPv6 != is.Generations[i].IPv6 || g.PREF64 != is.Generations[i].PREF64:
			say("those of %v through %v are lost", g.IPv4.Addr(), g.PREF64)
		case g.Old.IsZero() && i > 0:
			say("those of %v go on through %v", g.IPv4.Addr(), g.PREF64)
		}
	}
	if was.Generations[0].IPv4 != is.Generations[0].IPv4 {
		say("new ones are of %v", is.Generations[0].IPv4.Addr())
	}
	return strings.Join(lines, "; ")
}
