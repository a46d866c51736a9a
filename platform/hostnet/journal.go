package hostnet

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// journalSchema is raised when an earlier program would not understand the journal.
const journalSchema = 1

// journalFile is the journal: what has to be taken away after the program was killed. The TUN is not in it, nor is what goes with it.
type journalFile struct {
	Schema    int            `json:"schema"`
	Blackhole []netip.Prefix `json:"blackhole"`
}

// formatJournal is the content of a journal.
func formatJournal(blackhole []netip.Prefix) ([]byte, error) {
	data, err := json.Marshal(journalFile{journalSchema, blackhole})
	return append(data, '\n'), err
}

// parseJournal is the IPv6 prefixes that a journal names. With an error they are what can be made out of one that is damaged or from a
// later version.
func parseJournal(data []byte) ([]netip.Prefix, error) {
	var j journalFile
	err := json.Unmarshal(data, &j)
	if err == nil && j.Schema != journalSchema {
		err = fmt.Errorf("schema %d is not %d", j.Schema, journalSchema)
	}
	if err != nil {
		return salvage(data), err
	}
	for _, p := range j.Blackhole {
		if !prefix6(p) {
			return salvage(data), fmt.Errorf("%s is no IPv6 prefix", p)
		}
	}
	return j.Blackhole, nil
}

// salvage is every IPv6 prefix that stands in quotes. Too many do no harm: it is the kernel's word that a route is ours.
func salvage(data []byte) (found []netip.Prefix) {
	for part := range strings.SplitSeq(string(data), `"`) {
		if p, err := netip.ParsePrefix(part); err == nil && prefix6(p) && !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	return found
}

// prefix6 says whether p is an IPv6 prefix as the kernel would show it.
func prefix6(p netip.Prefix) bool {
	return p.IsValid() && p.Addr().Is6() && !p.Addr().Is4In6() && p == p.Masked()
}
