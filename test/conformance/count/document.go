package main

import (
	"fmt"
	"strings"

	"uclat/test/conformance/requirements"
)

// sections are the document's tables, each with the ID that it begins with.
var sections = []struct{ first, title string }{
	{"XLAT-6052-2.2-1", "Addresses"},
	{"XLAT-7915-4.1-1", "IPv4 header to IPv6 header"},
	{"XLAT-7915-5.1-1", "IPv6 header to IPv4 header"},
	{"XLAT-ICMP46-0/0", "ICMPv4 to ICMPv6, by type and code"},
	{"XLAT-PTR46-0", "Pointers of ICMPv4 Parameter Problem"},
	{"XLAT-ICMP64-128/0", "ICMPv6 to ICMPv4, by type and code"},
	{"XLAT-PTR64-0", "Pointers of ICMPv6 Parameter Problem"},
	{"XLAT-7915-4.3-1", "ICMP errors: the quoted packet, extensions, errors of our own"},
	{"XLAT-6791-3", "ICMPv6 errors from routers without an IPv4 address"},
	{"XLAT-CK-1", "Transport checksums"},
	{"PMTU-8201-4-1", "Path MTU"},
	{"SRC-4862-1", "The CLAT's own IPv6 address"},
	{"DISC-8781-4-1", "PREF64 from Router Advertisements"},
	{"DISC-7050-3-1", "PREF64 by DNS"},
	{"CLATON-8-1", "What the CLAT makes of a PREF64"},
}

const introduction = `# Conformance

<!-- Written by make conformance: change test/conformance/requirements.tsv instead. -->

What uclat must do by the RFCs that it implements, as a translator, with the IPv6 address that it has of its own and to learn the PREF64 of a
network, and what we decided where they leave it open. Each requirement has an ID and one test of that name in ` + "`test/conformance`" + `, which builds and reads all
packets with a library that shares nothing with uclat. ` + "`make conformance`" + ` runs them, makes sure that there is one for each, and writes
this file; some tests go through the kernel and need root. ` + "`go test -run '/^XLAT-7915-4.1-8$' ./test/conformance`" + ` runs one.
` + "`make mutants`" + ` shows that they can fail: it puts mistakes into the program, at least one for each requirement that is a must, and
wants that requirement's test to find it.

%s.

Level: M must, S should, O may, N must not, D our own decision. Direction: 46 from IPv4 to IPv6, 64 from IPv6 to IPv4, B both, C configuration.
`

// render is the whole document. It depends on its arguments only.
func render(list []requirements.Requirement, c *requirements.Coverage) string {
	var b strings.Builder
	fmt.Fprintf(&b, introduction, c.Summary(list))
	for _, r := range list {
		for _, s := range sections {
			if s.first == r.ID {
				fmt.Fprintf(&b, "\n## %s\n\n| ID | Level | Direction | Source | Requirement | Test |\n|---|---|---|---|---|---|\n", s.title)
			}
		}
		row := []string{r.ID, r.Level, r.Direction, r.Source, r.Text, c.Function[r.ID]}
		for i, cell := range row {
			row[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	return b.String()
}
