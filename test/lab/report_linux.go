package lab

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const drawing = `
  An IPv6-only internet on this machine:

    laptop ────────────── router ────────────── plat ────────────── hop ────────────── server
    no IPv4               PREF64 64:ff9b::/96   NAT64               203.0.113.2        198.51.100.10
    2001:db8:1::/64       DNS64, RA             192.0.2.0/24        IPv4 router        IPv4 only, MTU 1400

    program ─IPv4─▶ clat0 ─▶ uclat ═══════════ IPv6 ═══════════▶ plat ─────────── IPv4 ──────────▶ server

`

// table prints a row for each try, as soon as it is known.
type table struct {
	out    io.Writer
	failed int
	rows   int
}

func (t *table) head() {
	fmt.Fprintf(t.out, "  %-21s %-5s %9s  %s\n", "WHAT", "", "TIME", "WHAT HAPPENED")
}

func (t *table) row(r result) {
	t.rows++
	mark := "ok"
	if !r.OK {
		mark = "FAIL"
		t.failed++
	}
	fmt.Fprintf(t.out, "  %-21s %-5s %9s  %s\n", r.Name, mark, elapsed(r.Elapsed), r.Detail)
}

// ok is true when all went well so far.
func (t *table) ok() bool { return t.rows > 0 && t.failed == 0 }

// elapsed is a duration in at most seven characters, whose unit a person can compare at a glance.
func elapsed(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// indent puts four spaces before each line of what another program printed.
func indent(s string) string {
	s = strings.TrimRight(s, "\n")
	if s == "" {
		return ""
	}
	return "    " + strings.ReplaceAll(s, "\n", "\n    ") + "\n"
}
