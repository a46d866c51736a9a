package hostnet

import (
	"fmt"
	"slices"
	"strings"
)

// ruled is what obstacles needs to know of one rule.
type ruled struct {
	In, Out string // names of interfaces that the rule asks for; empty: any
	Plain   bool   // the rule asks for nothing else either
	Verdict string // accept, drop, or empty for all others
}

// chained is what obstacles needs to know of one chain.
type chained struct {
	Family, Table, Name string // family is inet or ip6
	Forward             bool   // a base chain on the forward hook
	PolicyDrop          bool
	Rules               []ruled
}

// obstacles finds the chains that keep IPv6 packets from passing between the TUN and the uplink, in the order of chains. legacy
// says whether the old ip6tables, whose rules nftables does not show, has a filter table.
//
// It errs on the side of naming one: what the rules of a chain do with our packets in the end it does not know, except where a rule
// that names both interfaces accepts.
func obstacles(chains []chained, legacy bool, tun, uplink string) []Obstacle {
	var found []Obstacle
	for _, c := range chains {
		if !c.Forward || c.Table == Table && c.Family == "inet" || passes(chains, c, tun, uplink) {
			continue
		}
		if why := c.drops(); why != "" {
			firewall, commands := remedy(chains, c, tun, uplink)
			found = append(found, Obstacle{Firewall: firewall, Where: c.Family + " " + c.Table + " " + c.Name, Why: why, Commands: commands})
		}
	}
	if legacy {
		found = append(found, Obstacle{
			Firewall: "ip6tables",
			Where:    "ip6 filter FORWARD (legacy)",
			Why:      "may drop what it does not accept: its rules cannot be seen from here",
			Commands: both(tun, uplink, "ip6tables-legacy -I FORWARD -i %s -o %s -j ACCEPT"),
		})
	}
	return found
}

// drops says what the base chain does to packets that no rule of it lets pass; empty where nothing.
func (c chained) drops() string {
	switch {
	case c.PolicyDrop:
		return "drops what it does not accept (policy drop)"
	case c.Family == "inet" && c.Table == "firewalld":
		return "rejects what its zones do not accept"
	case slices.ContainsFunc(c.Rules, func(r ruled) bool { return r.Plain && r.In == "" && r.Out == "" && r.Verdict == "drop" }):
		return "has a rule that drops or rejects everything"
	default:
		return ""
	}
}

// passes says whether rules of the same table accept both ways, so that the user has done already what we would advise. For
// firewalld any rule on the TUN will do: it stands in a zone.
func passes(chains []chained, base chained, tun, uplink string) bool {
	var there, back bool
	for _, c := range chains {
		if c.Family != base.Family || c.Table != base.Table {
			continue
		}
		for _, r := range c.Rules {
			if base.Table == "firewalld" && (r.In == tun || r.Out == tun) {
				return true
			}
			if !r.Plain || r.Verdict != "accept" {
				continue
			}
			there = there || r.In == tun && (r.Out == uplink || r.Out == "")
			back = back || r.Out == tun && (r.In == uplink || r.In == "")
		}
	}
	return there && back
}

// remedy names the program that made the chain, by what only it makes, and its own way to let our packets pass.
func remedy(chains []chained, c chained, tun, uplink string) (firewall string, commands []string) {
	has := func(prefix string) bool {
		return slices.ContainsFunc(chains, func(o chained) bool {
			return o.Family == c.Family && o.Table == c.Table && strings.HasPrefix(o.Name, prefix)
		})
	}
	iptables := c.Family == "ip6" && c.Table == "filter" && c.Name == "FORWARD"
	switch {
	case c.Family == "inet" && c.Table == "firewalld":
		return "firewalld", []string{fmt.Sprintf("firewall-cmd --zone=trusted --change-interface=%s", tun)}
	case iptables && has("ufw6-"):
		return "ufw", both(tun, uplink, "ufw route allow in on %s out on %s")
	case iptables && has("DOCKER-USER"):
		return "Docker", both(tun, uplink, "ip6tables -I DOCKER-USER -i %s -o %s -j ACCEPT")
	case iptables:
		return "ip6tables", both(tun, uplink, "ip6tables -I FORWARD -i %s -o %s -j ACCEPT")
	default:
		return "nftables", both(tun, uplink, "nft insert rule "+c.Family+" "+c.Table+" "+c.Name+` iifname "%s" oifname "%s" accept`)
	}
}

// both is the command for both ways.
func both(tun, uplink, format string) []string {
	return []string{fmt.Sprintf(format, tun, uplink), fmt.Sprintf(format, uplink, tun)}
}
