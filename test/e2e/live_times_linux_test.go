package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uclat/test/peers"
)

// How long it may take until IPv4 works on an idle machine. The tests print how long it took, and fail far above.
const (
	fromPREF64  = 300 * time.Millisecond  // from an announcement, on an uplink whose address is free
	fromLink    = 2500 * time.Millisecond // from the link, with duplicate address detection of RFC 4862
	optimistic  = time.Second             // from the link, with that of RFC 4429
	busyMachine = 3                       // times
)

// TestTimeFromPREF64 reads from a capture how long it takes from the first Router Advertisement that has a PREF64 to the first answer from
// the IPv4 internet, on an uplink that the program holds an address on.
func TestTimeFromPREF64(t *testing.T) {
	t.Parallel()
	says := announcing()
	top := newNetwork(t, network{path: onPacket, lan: bridge, announces: &says})
	p := top.startUclat(t)
	p.waits(t)
	top.announcer.say(t, announcing(lastingPREF64(pref64))) // so that the address is known to be free
	p.onBy(t, pref64, byRouter)
	var took []time.Duration
	for range 3 {
		top.announcer.say(t, announcing(withdrawn(pref64)))
		eventually(t, "IPv4 is gone", func() bool { return !top.source(t).IsValid() })
		top.announcer.silence() // as on a network that does not change all the time, at which the program looks less often
		idle := time.Now()
		eventually(t, "a while has passed", func() bool { return time.Since(idle) > 2500*time.Millisecond })
		seen := startCapture(t, top.bridge, "laptop0", arrivals)
		knocks := top.startKnocks(t)
		top.announcer.say(t, announcing(lastingPREF64(pref64)))
		knocks.answered(t)
		records := seen.records(t)
		first, answer := index(records, hasPREF64), index(records, isAnswer)
		if first < 0 || answer < first {
			t.Fatalf("announced in frame %d, answered in %d", first, answer)
		}
		took = append(took, records[answer].at.Sub(records[first].at))
	}
	slices.Sort(took)
	t.Logf("from a PREF64 to the first answer: %v", took)
	if median := took[len(took)/2]; median > busyMachine*fromPREF64 {
		t.Errorf("it takes %v", median)
	}
}

// TestTimeFromLink reads how long it takes from when the uplink comes up on a network whose first Router Advertisement has all.
func TestTimeFromLink(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		flags []string
		most  time.Duration
	}{
		{"RFC 4862", nil, fromLink},
		{"optimistic", []string{"--address.dad", "optimistic"}, optimistic},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			says := announcing(lastingPREF64(pref64))
			top := newNetwork(t, network{path: onPacket, lan: bridge, announces: &says})
			var took []time.Duration
			for range 2 { // the address of the last time is known to be ours
				top.setUp(t, false)
				must(t, top.laptop, peers.Find(t, "ip"), "-6", "address", "flush", "dev", "eth0")
				p := top.startUclat(t, c.flags...)
				eventually(t, "it waits for an uplink", func() bool { return len(p.plans()) == 1 })
				seen := startCapture(t, top.bridge, "laptop0", arrivals)
				knocks := top.startKnocks(t)
				began := time.Now()
				top.setUp(t, true)
				p.onBy(t, pref64, byRouter)
				knocks.answered(t)
				records := seen.records(t)
				first, answer := index(records, hasPREF64), index(records, isAnswer)
				if first < 0 || answer < first {
					t.Fatalf("announced in frame %d, answered in %d", first, answer)
				}
				for _, r := range records[:answer+1] {
					t.Logf("%8v  %s", r.at.Sub(began).Round(time.Millisecond), word(r.frame))
				}
				took = append(took, records[answer].at.Sub(began))
				down(t, p, unix.SIGTERM)
			}
			if least := slices.Min(took); least > busyMachine*c.most {
				t.Errorf("it takes %v", least)
			}
		})
	}
}

// arrivals are what is said of routers and addresses, and what the laptop's knocks are answered with.
const arrivals = "(icmp6 and ip6[40] >= 133 and ip6[40] <= 136) or (udp and ip6 dst net 2001:db8:1::/64 and src port 7)"

// word is what a frame of them is.
func word(f []byte) string {
	from, to := netip.AddrFrom16([16]byte(f[14+8:])), netip.AddrFrom16([16]byte(f[14+24:]))
	kind := "an answer"
	if f[14+6] == unix.IPPROTO_ICMPV6 {
		kind = [...]string{"Router Solicitation", "Router Advertisement", "Neighbor Solicitation", "Neighbor Advertisement"}[f[14+40]-133]
	}
	return fmt.Sprintf("%s from %s to %s", kind, from, to)
}

// hasPREF64 says whether an Ethernet frame is an advertisement of the test's PREF64.
func hasPREF64(f []byte) bool {
	p := pref64.Addr().As16()
	return f[14+6] == unix.IPPROTO_ICMPV6 && f[14+40] == 134 && bytes.Contains(f[14+40:], p[:12])
}

func isAnswer(f []byte) bool { return f[14+6] == unix.IPPROTO_UDP }

func index(records []record, is func([]byte) bool) int {
	return slices.IndexFunc(records, func(r record) bool { return is(r.frame) })
}

// knocks are datagrams from the laptop to the server, every few milliseconds, whether there is a way or not.
type knocks struct {
	fd      int
	ended   chan struct{}
	running sync.WaitGroup
	once    sync.Once
}

func (top *topology) startKnocks(t *testing.T) *knocks {
	t.Helper()
	k := &knocks{ended: make(chan struct{})}
	inside(t, top.laptop, func() (err error) {
		k.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	k.running.Go(func() {
		pace := time.NewTicker(4 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-k.ended:
				return
			case <-pace.C:
			}
			_ = unix.Sendto(k.fd, []byte("knock"), unix.MSG_DONTWAIT, sockaddr(netip.AddrPortFrom(server4, portEcho))) // there may be no way
		}
	})
	t.Cleanup(k.end)
	return k
}

func (k *knocks) end() {
	k.once.Do(func() {
		close(k.ended)
		k.running.Wait()
		unix.Close(k.fd)
	})
}

// answered waits for an answer, and ends them.
func (k *knocks) answered(t *testing.T) {
	t.Helper()
	if _, err := await(patience, unix.PollFd{Fd: int32(k.fd), Events: unix.POLLIN}); err != nil {
		t.Errorf("nobody answers: %v", err)
	}
	k.end()
}
