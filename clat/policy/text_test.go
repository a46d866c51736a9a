package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"uclat/clat/config"
	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/platform"
)

// parse is a configuration from TOML.
func parse(t *testing.T, toml string) *config.Config {
	t.Helper()
	c, err := config.Parse("test.toml", []byte(toml))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// snapshot reads a host from lines: "link NAME [l3] [down] [mtu N] [ups N] [hardware MAC]", "addr LINK PREFIX [tentative] [deprecated] [permanent]
// [autoconf]", "route LINK PREFIX [via ADDRESS] [metric N] [ra] [elsewhere]", "neighbour LINK ADDRESS MAC", "route4 LINK PREFIX", "routed LINK"
// (by routes that are not kept), "filtered LINK", "forwarding FAMILY...". Links are numbered from 1.
func snapshot(t *testing.T, text string) (s platform.Snapshot) {
	t.Helper()
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		option := func(name string) (value string, ok bool) {
			for i, word := range w {
				if word == name {
					return strings.Join(w[i+1:min(i+2, len(w))], ""), true
				}
			}
			return "", false
		}
		number := func(name string, otherwise int) int {
			v, ok := option(name)
			if !ok {
				return otherwise
			}
			n, err := strconv.Atoi(v)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return n
		}
		is := func(name string) bool { return slices.Contains(w, name) }
		link, _ := s.LinkByName(w[1])
		switch w[0] {
		case "link":
			mtu := number("mtu", 1500)
			hardware, _ := option("hardware")
			s.Links = append(s.Links, platform.Link{Index: len(s.Links) + 1, Name: w[1], MTU: mtu, MTU6: mtu, Up: !is("down"), L2: !is("l3"),
				Ups: number("ups", 0), Hardware: hardware})
		case "addr":
			s.Addrs = append(s.Addrs, platform.Address{Link: link.Index, Prefix: netip.MustParsePrefix(w[2]), Tentative: is("tentative"),
				Deprecated: is("deprecated"), Permanent: is("permanent"), Autoconf: is("autoconf")})
		case "route":
			r := platform.Route{Link: link.Index, Dst: netip.MustParsePrefix(w[2]), Metric: number("metric", 0), FromRA: is("ra")}
			if via, ok := option("via"); ok {
				r.Via = netip.MustParseAddr(via)
			}
			if is("elsewhere") { // in another table
				s.OtherRoutes = append(s.OtherRoutes, r)
				continue
			}
			s.Routes = append(s.Routes, r)
			s.Routed = append(s.Routed, link.Index)
		case "neighbour":
			s.Neighbours = append(s.Neighbours, platform.Neighbour{Link: link.Index, Addr: netip.MustParseAddr(w[2]), Hardware: w[3]})
		case "route4":
			s.Routes4 = append(s.Routes4, platform.Route4{Link: link.Index, Dst: netip.MustParsePrefix(w[2])})
		case "routed":
			s.Routed = append(s.Routed, link.Index)
		case "filtered":
			s.Filtered4 = append(s.Filtered4, link.Index)
		case "forwarding":
			s.Forwarding4, s.Forwarding6 = is("IPv4"), is("IPv6")
		default:
			t.Fatalf("%q", line)
		}
	}
	return s
}

// known reads PREF64s: "PREFIX" is configured, "PREFIX@RESOLVER" was learned from that one, and "PREFIX@ROUTER" from a router, which has a
// link-local address. Behind both "%LINK" is where that was, by index, and eth0 of the laptops without it; behind that "=MAC" is what a router
// says of itself.
func known(text string) (k []discovery.Known) {
	for _, word := range strings.Fields(text) {
		prefix, origin, learned := strings.Cut(word, "@")
		one := discovery.Known{Prefix: pref64.MustParse(prefix)}
		if learned {
			var link string
			origin, one.Hardware, _ = strings.Cut(origin, "=")
			origin, link, _ = strings.Cut(origin, "%")
			one.Link = eth0
			if link != "" {
				one.Link, _ = strconv.Atoi(link)
			}
			one.Source, one.Resolver = discovery.DNS, origin
			if a := netip.MustParseAddr(origin); a.IsLinkLocalUnicast() {
				one.Source, one.Resolver, one.Router = discovery.RA, "", a
			}
		}
		k = append(k, one)
	}
	return k
}

// eth0 is the index of the second link, which is that of the laptops here.
const eth0 = 2

// hostText is a HostConfig as lines.
func hostText(h platform.HostConfig) string {
	var b strings.Builder
	fmt.Fprintf(&b, "tun %s mtu %d", h.TUN, h.MTU)
	if h.IPv6 {
		b.WriteString(" with IPv6")
	}
	b.WriteString("\n")
	for _, a := range h.Addrs {
		fmt.Fprintf(&b, "addr %v\n", a)
	}
	for _, r := range h.Routes {
		fmt.Fprintf(&b, "route %v", r.Dst)
		if r.Via.IsValid() {
			fmt.Fprintf(&b, " via %v", r.Via)
		}
		if r.Metric != 0 {
			fmt.Fprintf(&b, " metric %d", r.Metric)
		}
		if r.Src.IsValid() {
			fmt.Fprintf(&b, " src %v", r.Src)
		}
		if r.MTU != 0 {
			fmt.Fprintf(&b, " mtu %d", r.MTU)
		}
		b.WriteString("\n")
	}
	if f := h.Forward; f != nil {
		fmt.Fprintf(&b, "forward by %s: %v <-> %v", f.Uplink, f.CLAT, f.PREF64)
		if !f.RepliesOnly {
			b.WriteString(", and what was not asked for")
		}
		b.WriteString("\n")
	}
	for _, p := range h.Blackhole {
		fmt.Fprintf(&b, "blackhole %v\n", p)
	}
	return b.String()
}
