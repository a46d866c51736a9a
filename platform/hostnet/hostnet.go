// Package hostnet makes the host as a platform.HostConfig says: the TUN's addresses, routes by it, IPv6 forwarding between the TUN
// and the uplink, and blackhole routes. It takes the state that is wanted, not commands, and puts back what it changed. What does not
// go with the TUN when the program is killed is in a journal first, which the next start reads.
package hostnet

import "log/slog"

// Protocol marks our routes (the protocol field of rtnetlink(7), "proto 46" in ip route). With the TUN that they lead to, or with the
// type blackhole, it tells them from all others. The number is not in iproute2's rt_protos; 46 is for the way from IPv4 to IPv6.
const Protocol = 46

// Table is the name of our nftables table, in the family inet.
const Table = "uclat"

// Options of a Host.
type Options struct {
	Log *slog.Logger // nil discards

	// Journal is the file, in a folder that exists, that names the blackhole routes while they are there. Empty: what is left of a run
	// that was killed, nobody removes.
	Journal string
}

// Obstacle is a firewall that keeps the kernel from forwarding between the TUN and the uplink.
type Obstacle struct {
	Firewall string   // ufw, firewalld, Docker, nftables or ip6tables
	Where    string   // the chain, as nft(8) names it: family, table, chain
	Why      string   // what it does to our packets
	Commands []string // to be run by the user, as root, to let them pass
}
