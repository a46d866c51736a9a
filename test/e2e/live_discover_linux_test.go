package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestDiscover asks what PREF64s a network offers, by each method, and what would be used.
func TestDiscover(t *testing.T) {
	t.Parallel()
	says := resolving(lastingPREF64(betterOne), offered{pref64By[32], 80 * 1e9})
	top := newNetwork(t, network{path: onPacket, lan: bridge, announces: &says})
	before := dump(t, top.laptop)
	contains := func(t *testing.T, out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("no %q in\n%s", w, out)
			}
		}
	}
	all := []string{betterOne.String(), pref64By[32].String(), routerLL.Addr().String(), pref64.String(), routerLAN.Addr().String()}
	text := append(slices.Clone(all), "by RA from "+byRouter, "by RFC 7050 from "+byResolver)
	for _, flags := range [][]string{nil, {"--interface", "eth0"}} {
		t.Run(fmt.Sprintf("as text %q", flags), func(t *testing.T) {
			out := must(t, top.laptop, uclat(t), append([]string{"discover"}, flags...)...)
			contains(t, out, append(text, "on eth0", "disagreement", "on: IPv4 through eth0, PREF64 "+betterOne.String())...)
		})
		t.Run(fmt.Sprintf("as JSON %q", flags), func(t *testing.T) {
			out := must(t, top.laptop, uclat(t), append([]string{"discover", "--json"}, flags...)...)
			var found struct {
				Schema        int
				Use           struct{ Prefix, Method, Interface, Router string }
				Disagreements []string
			}
			parseJSON(t, out, &found)
			if use := found.Use; found.Schema != 1 || use.Prefix != betterOne.String() || use.Method != "ra" || use.Interface != "eth0" ||
				use.Router != routerLL.Addr().String() || len(found.Disagreements) != 1 {
				t.Errorf("JSON is %+v", found)
			}
			contains(t, out, all...)
		})
	}
	t.Run("another interface", func(t *testing.T) {
		if r := try(t, top.laptop, uclat(t), "discover", "--interface", "nosuch0"); r.code == 0 || !strings.Contains(r.stderr, "nosuch0") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("while it runs", func(t *testing.T) {
		p := top.startUclat(t)
		p.onBy(t, betterOne, byRouter)
		contains(t, must(t, top.laptop, uclat(t), "discover"), text...)
		down(t, p, syscall.SIGTERM)
	})
	t.Run("live", func(t *testing.T) {
		watch := start(t, top.laptop, uclat(t), "discover", "--watch")
		watch.wait(t, betterOne.String())
		top.announcer.say(t, resolving(lastingPREF64(betterOne), lastingPREF64(pref64By[56])))
		watch.wait(t, pref64By[56].String())
		top.announcer.say(t, resolving(withdrawn(betterOne), lastingPREF64(pref64By[56])))
		eventually(t, "it shows that one is gone", func() bool {
			views := strings.Split(watch.said(), "\n\n")
			last := views[len(views)-1]
			return strings.Contains(last, pref64By[56].String()) && !strings.Contains(last, betterOne.String())
		})
		down(t, watch, syscall.SIGINT)
	})
	t.Run("live, as JSON", func(t *testing.T) {
		watch := start(t, top.laptop, uclat(t), "discover", "--watch", "--json")
		watch.wait(t, pref64By[56].String())
		top.announcer.say(t, resolving(lastingPREF64(pref64By[40])))
		watch.wait(t, pref64By[40].String())
		down(t, watch, syscall.SIGINT)
		views := json.NewDecoder(strings.NewReader(watch.said()))
		for n := 0; ; n++ {
			var view struct{ Schema int }
			switch err := views.Decode(&view); {
			case err == io.EOF && n > 1:
				return
			case err != nil || view.Schema != 1:
				t.Fatalf("view %d: %v", n, err)
			}
		}
	})
	t.Run("nothing is there", func(t *testing.T) {
		none := announcing(withdrawn(pref64By[32]), withdrawn(pref64By[40]), withdrawn(pref64By[56]))
		top.announcer.say(t, none)
		if err := top.laptop.WriteFile("/etc/resolv.conf", nil); err != nil {
			t.Fatal(err)
		}
		if r := try(t, top.laptop, uclat(t), "discover"); r.code != codeFault {
			t.Errorf("%+v", r)
		}
	})
	// It asks, and changes nothing.
	eventually(t, "the laptop is as before", func() bool {
		lost, added := changes(before, dump(t, top.laptop))
		return len(lost)+len(added) == 0
	})
}

// TestDiscoverHostile has a resolver's name and a router's options that would do something to a terminal.
func TestDiscoverHostile(t *testing.T) {
	t.Parallel()
	says := announcing(lastingPREF64(pref64))
	bell := []byte{38, 2, 0xff, 0xf8, 0x1b, '[', '2', 'J', 7, 0, 0x1b, ']', '0', ';', 'x', 7} // as octets of a PREF64
	says.first = [][]byte{bell}
	top := newNetwork(t, network{path: onPacket, announces: &says})
	if err := top.laptop.WriteFile("/etc/resolv.conf", []byte("nameserver \x1b[2J\nnameserver fe80::1%\x1b[31meth0\n")); err != nil {
		t.Fatal(err)
	}
	p := top.startUclat(t)
	eventually(t, "it is on", func() bool { return strings.HasPrefix(p.plan(), "on: ") })
	out := try(t, top.laptop, uclat(t), "discover")
	for _, text := range []string{p.said(), out.stdout, out.stderr} {
		if strings.ContainsAny(text, "\x1b\a") {
			t.Errorf("a terminal is spoken to: %q", text)
		}
	}
	down(t, p, syscall.SIGTERM)
}
