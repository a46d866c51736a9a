package hostnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

// The host before, with, and after: on each of the ways that forwarding is turned on.
func TestSet(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		const common = `addr clat0 100.64.46.4/32 scope 0 flags 0x280
link 4 clat0 mtu 1492 flags up|pointtopoint|running
route table 254 0.0.0.0/0 via <nil> dev 4 type 1 protocol 46 metric 2000000 mtu 1472
route table 254 2001:db8:1::46/128 via <nil> dev 4 type 1 protocol 46 metric 1024 mtu 0
`
		const nft = `table family 1 uclat flags 0x2
chain forward type filter hook 2 priority 0 policy 1
  iifname clat0 oifname eth0 nfproto [10] @1,8,16 {2001:db8:1::46 <2001:db8:1::47} @1,24,16 {64:ff9b:: <64:ff9b::1:0:0} accept
  iifname eth0 oifname clat0 nfproto [10] @1,8,16 {64:ff9b:: <64:ff9b::1:0:0} @1,24,16 {2001:db8:1::46 <2001:db8:1::47} accept
  iifname eth0 oifname clat0 nfproto [10] l4proto [58] @2,0,1 [1]-[4] @1,24,16 {2001:db8:1::46 <2001:db8:1::47} accept
  iifname clat0 nfproto [10] counter drop
  oifname clat0 nfproto [10] counter drop
  iifname clat0 oifname eth0 counter drop
  iifname eth0 oifname clat0 counter drop
`
		const quiet = "sysctl net/ipv6/conf/clat0/accept_ra = 0\n"
		const mtu = "sysctl net/ipv6/conf/clat0/mtu = 1492\n"
		const guard = "sysctl net/ipv6/conf/eth0/accept_ra = 2\n"
		for _, tt := range []struct {
			name string
			prep func()
			hide string
			want string
		}{
			{name: "forced", prep: func() {}, want: common + quiet + "sysctl net/ipv6/conf/clat0/force_forwarding = 1\n" + mtu +
				"sysctl net/ipv6/conf/eth0/force_forwarding = 1\n" + nft + "  nfproto [10] iifname eth0 counter drop\n"},
			{name: "forced, uplink forwarded before", prep: func() { sysctl(t, "net/ipv6/conf/eth0/force_forwarding", "1") },
				want: common + quiet + "sysctl net/ipv6/conf/clat0/force_forwarding = 1\n" + mtu + nft},
			{name: "global", prep: func() { sysctl(t, "net/ipv6/conf/eth0/force_forwarding", "0") }, hide: "/force_forwarding",
				want: common + "sysctl net/ipv6/conf/all/forwarding = 1\n" + quiet + mtu + guard + nft + "  nfproto [10] counter drop\n"},
			{name: "global, another interface is a router", prep: func() { sysctl(t, "net/ipv6/conf/lan/forwarding", "1") }, hide: "/force_forwarding",
				want: common + "sysctl net/ipv6/conf/all/forwarding = 1\n" + quiet + mtu + guard + nft + "  nfproto [10] counter drop\n"},
			{name: "already", prep: func() { sysctl(t, "net/ipv6/conf/all/forwarding", "1") }, want: common + quiet + mtu + nft},
			{name: "already, strict rp_filter", prep: func() { sysctl(t, "net/ipv4/conf/all/rp_filter", "1") },
				want: common + "sysctl net/ipv4/conf/clat0/rp_filter = 2\n" + quiet + mtu + nft},
			{name: "already, no IPv6 on new interfaces", prep: func() {
				sysctl(t, "net/ipv4/conf/all/rp_filter", "0")
				sysctl(t, "net/ipv6/conf/clat0/disable_ipv6", "1")
			}, want: common + quiet + "sysctl net/ipv6/conf/clat0/disable_ipv6 = 0\n" + mtu + nft},
		} {
			tt.prep()
			before := dump(t)
			h := newHost(t)
			h.sys = &oldKernel{sysctls: h.sys, hide: tt.hide}
			must(t, h.Set(t.Context(), config()))
			once := dump(t)
			want := strings.ReplaceAll(tt.want, "link 4 ", fmt.Sprintf("link %d ", h.tun.index))
			want = strings.ReplaceAll(want, "dev 4 ", fmt.Sprintf("dev %d ", h.tun.index))
			if diff := cmp.Diff(want, changed(before, once)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
			must(t, h.Set(t.Context(), config()))
			if diff := cmp.Diff(once, dump(t)); diff != "" {
				t.Errorf("%s: twice is not once:\n%s", tt.name, diff)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			must(t, h.Set(ended, platform.HostConfig{}))
			if diff := cmp.Diff(before, dump(t)); diff != "" {
				t.Errorf("%s: left behind:\n%s", tt.name, diff)
			}
			must(t, h.Set(t.Context(), platform.HostConfig{}))
		}
	})
}

// Whatever step fails, nothing of ours is left.
func TestSetFails(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		sysctl(t, "net/ipv6/conf/lan/forwarding", "1")
		sysctl(t, "net/ipv4/conf/all/rp_filter", "1")
		before := dump(t)
		fails := func(name string, h *Host, want platform.HostConfig) error {
			t.Helper()
			err := h.Set(t.Context(), want)
			if err == nil {
				t.Fatalf("%s: no error", name)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: not one line: %q", name, err)
			}
			if diff := cmp.Diff(before, dump(t)); diff != "" {
				t.Errorf("%s: left behind:\n%s", name, diff)
			}
			return err
		}
		for _, hide := range []string{"", "/force_forwarding"} {
			h := newHost(t)
			must(t, h.Set(t.Context(), config())) // sets what is not put back
			must(t, h.Set(t.Context(), platform.HostConfig{}))
			counting := &oldKernel{sysctls: procSys{"/proc/sys"}, hide: hide}
			h.sys = counting
			must(t, h.Set(t.Context(), config()))
			writes := counting.writes
			must(t, h.Set(t.Context(), platform.HostConfig{}))
			if writes < 4 {
				t.Errorf("only %d writes to fail at", writes)
			}
			for at := 1; at <= writes; at++ {
				h := newHost(t)
				h.sys = &oldKernel{sysctls: procSys{"/proc/sys"}, hide: hide, failAt: at}
				if err := fails(fmt.Sprintf("%s write %d", hide, at), h, config()); !errors.Is(err, errInjected) {
					t.Errorf("write %d: %v", at, err)
				}
				must(t, h.Set(t.Context(), config())) // and it works again
				must(t, h.Set(t.Context(), platform.HostConfig{}))
				if diff := cmp.Diff(before, dump(t)); diff != "" {
					t.Errorf("write %d, after all: left behind:\n%s", at, diff)
				}
			}
		}

		h := newHost(t)
		h.openTable = func() (filterTable, error) { return nil, errInjected }
		if err := fails("no nftables", h, config()); !strings.Contains(err.Error(), "not turned on without a filter") {
			t.Error(err)
		}
		h = newHost(t)
		h.openTable = func() (filterTable, error) { return badTable{}, nil }
		fails("rules refused", h, config())

		h = newHost(t)
		taken := config()
		taken.Routes = append(taken.Routes, platform.Route{Dst: netip.MustParsePrefix("::/0")}) // as the RA's
		if err := fails("route taken", h, taken); !errors.Is(err, unix.EEXIST) {
			t.Error(err)
		}
		for name, change := range map[string]func(*platform.HostConfig){
			"TUN missing":     func(c *platform.HostConfig) { c.TUN = "clat9" },
			"no TUN":          func(c *platform.HostConfig) { c.TUN = "" },
			"uplink missing":  func(c *platform.HostConfig) { c.Forward.Uplink = "eth9" },
			"uplink is TUN":   func(c *platform.HostConfig) { c.Forward.Uplink = "clat0" },
			"MTU below IPv6":  func(c *platform.HostConfig) { c.MTU = 1279 },
			"MTU impossible":  func(c *platform.HostConfig) { c.MTU = 70000 },
			"no CLAT":         func(c *platform.HostConfig) { c.Forward.CLAT = nil },
			"PREF64 is IPv4":  func(c *platform.HostConfig) { c.Forward.PREF64[0] = netip.MustParsePrefix("192.0.2.0/24") },
			"route to no dst": func(c *platform.HostConfig) { c.Routes[0].Dst = netip.Prefix{} },
			"route6, no IPv6": func(c *platform.HostConfig) { c.Forward = nil },
			"addr6, no IPv6":  func(c *platform.HostConfig) { c.Forward, c.Addrs, c.Routes = nil, blackholes6(clat6), nil },
			"blackhole IPv4":  func(c *platform.HostConfig) { c.Blackhole = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} },
			"blackhole wide":  func(c *platform.HostConfig) { c.Blackhole = []netip.Prefix{netip.MustParsePrefix(clat6 + "/64")} },
		} {
			c := config()
			change(&c)
			fails(name, newHost(t), c)
			// From a state that was well: the same.
			h := newHost(t)
			must(t, h.Set(t.Context(), config()))
			c = config()
			change(&c)
			fails(name+", later", h, c)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := newHost(t).Set(ended, config()); !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}
	})
}

type badTable struct{}

func (badTable) replace(ruleset) error { return errInjected }
func (badTable) close() error          { return nil }
