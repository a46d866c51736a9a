package daemon

import (
	"fmt"

	"uclat/clat"
	"uclat/clat/datapath"
)

// eventLine says to people what was dropped, why, and what to do.
func eventLine(e datapath.Event) string {
	switch {
	case e.Reason == clat.DropExtension:
		return fmt.Sprintf("dropped a packet from %v to %v: extension header %d follows its fragment header, and such fragments cannot be "+
			"translated (RFC 7915, 5.1.1); the sender has to leave it out", e.Src.Addr(), e.Dst.Addr(), e.Proto)
	case e.Direction == clat.To4:
		return fmt.Sprintf("dropped UDP without a checksum from %v to %v, which IPv6 forbids; translate.udp6-zero-checksum = \"pass\" lets it "+
			"through, as UDP over IPv4 without a checksum", e.Src, e.Dst)
	case e.Fragment:
		return fmt.Sprintf("dropped UDP without a checksum from %v to %v: IPv6 needs one, and it cannot be computed because the datagram comes in "+
			"fragments; have the sender use checksums, or datagrams that need no fragments", e.Src, e.Dst)
	}
	return fmt.Sprintf("dropped UDP without a checksum from %v to %v: IPv6 needs one; translate.udp-zero-checksum = \"compute\" gives it one",
		e.Src, e.Dst)
}
