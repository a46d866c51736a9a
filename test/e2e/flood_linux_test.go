package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestFragmentFlood sends fragments of ICMP of which no datagram is ever complete, from both sides, while TCP is transferred. What the
// program keeps of them is bounded, and TCP does not notice. (On path kernel, clients are behind the laptop, so that inbound is "all". Where it is
// "replies", the kernel's connection tracking takes all fragments first, and the program gets none of these.)
func TestFragmentFlood(t *testing.T) { eachPath(t, testFragmentFlood) }

func testFragmentFlood(t *testing.T, top *topology) {
	top.removeTAYGA(t) // it has no fragments of ICMP
	plat := top.startRouter(t)
	// The PLAT knows who sends as fixed4.
	client, client4, flags := top.laptop, self4, top.configured("--inbound", "all")
	if top.forwards {
		client, client4 = top.addClient(t), netip.MustParseAddr("100.64.7.9")
		flags = []string{"--interface.ipv4", "100.64.0.0/10", "--address.ipv6", "2001:db8:c1a7::/96", "--map", fmt.Sprintf("%s=%s", client4, clat46)}
	}
	p := top.up(t, flags...)
	iperf3 := peers.Find(t, "iperf3")
	server, round := start(t, top.server, iperf3, "-s", "--forceflush", "-B", server4.String()), 0
	size, least, allowed := "100M", 0.3, 4<<10 // octets; share of the calm; KiB
	if withRace() {
		size, least, allowed = "5M", 0, allowed*8 // it is slow, and keeps account of all memory
	}
	transfer := func(args ...string) (bitsPerSecond float64) {
		t.Helper()
		round++
		server.wait(t, fmt.Sprintf("(test #%d)", round)) // it serves one after the other
		var report struct {
			End struct {
				Received struct {
					Rate float64 `json:"bits_per_second"`
				} `json:"sum_received"`
			}
		}
		out := must(t, client, iperf3, append([]string{"-J", "-c", server4.String(), "-B", client4.String(), "-n", size}, args...)...)
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatal(err)
		}
		return report.End.Received.Rate
	}

	ways := []struct {
		name        string
		args        []string
		calm, flood []float64 // bits per second, by turns
	}{{name: "up"}, {name: "down", args: []string{"-R"}}}
	for i := range ways {
		transfer(ways[i].args...)
	}
	_, before := memory(t, p)
	sent := 0
	for range 3 {
		for i := range ways {
			ways[i].calm = append(ways[i].calm, transfer(ways[i].args...))
		}
		stop := top.fragmentFlood(t, client, client4)
		for i := range ways {
			ways[i].flood = append(ways[i].flood, transfer(ways[i].args...))
		}
		sent += stop()
	}
	for _, w := range ways {
		calm, flood := median(w.calm), median(w.flood)
		t.Logf("%s: %.0f Mbit/s, beside the flood %.0f: ratio %.2f", w.name, calm/1e6, flood/1e6, flood/calm)
		if flood < least*calm {
			t.Errorf("%s: %.0f Mbit/s of %.0f are left beside the flood", w.name, flood/1e6, calm/1e6)
		}
	}
	_, after := memory(t, p)
	t.Logf("%d fragments; memory grew from %d to %d KiB", sent, before, after)
	if after > before+allowed {
		t.Errorf("memory grew from %d to %d KiB", before, after)
	}
	out := must(t, client, peers.Find(t, "ping"), "-I", client4.String(), "-s", "4000", "-c", "3", "-i", "0.01", "-w", "5", server4.String())
	if !strings.Contains(out, " 0% packet loss") {
		t.Errorf("after the flood ping says\n%s", out)
	}
	down(t, p, syscall.SIGTERM)
	for _, way := range []string{"46", "64"} {
		m := regexp.MustCompile("drop-" + way + `-fragment-room=(\d+)`).FindStringSubmatch(p.said())
		if m == nil {
			t.Errorf("no fragment had to make room, direction %s", way)
			continue
		}
		if n, _ := strconv.Atoi(m[1]); n < sent/4 { // digits; the kernel's queues may have dropped some
			t.Errorf("%d of %d fragments reached the program, direction %s", n, sent/2, way)
		}
	}
	down(t, plat, syscall.SIGTERM)
}

// fragmentFlood sends some 10,000 fragments a second to the client from outside, and as many from the client to the server, each of another
// datagram; to a program with race detection only a tenth. stop returns how many there were.
func (top *topology) fragmentFlood(t *testing.T, client *netlab.Node, client4 netip.Addr) (stop func() int) {
	t.Helper()
	var out, in int
	inside(t, client, func() (err error) {
		out, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return os.NewSyscallError("socket", err)
	})
	inside(t, top.router, func() (err error) {
		in, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return os.NewSyscallError("socket", err)
	})
	const size = 1208 // of each fragment's payload
	four := packet(t,
		&layers.IPv4{Version: 4, TTL: 64, Id: 1, Protocol: layers.IPProtocolICMPv4, SrcIP: client4.AsSlice(), DstIP: server4.AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, gopacket.Payload(make([]byte, size-8)))
	to6 := &unix.SockaddrInet6{Addr: netip.MustParseAddr(top.addr6).As16()}
	six := packet(t,
		&layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolIPv6Fragment, SrcIP: server6.AsSlice(), DstIP: to6.Addr[:]},
		gopacket.Payload(append([]byte{syscall.IPPROTO_ICMPV6, 7: 0, 8: 129}, make([]byte, size-1)...)))
	to4 := &unix.SockaddrInet4{Addr: server4.As4()}
	burst := 10 // each millisecond
	if withRace() {
		burst = 1
	}
	done := make(chan struct{})
	n := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for range burst {
				n++
				offset := n % 2 * 1600 // every other one is not the first of its datagram
				binary.BigEndian.PutUint16(four[4:], uint16(n))
				binary.BigEndian.PutUint16(four[6:], uint16(offset/8|1<<13)) // more fragments follow; the checksum is the kernel's
				binary.BigEndian.PutUint32(six[20:], uint32(8<<24+n))        // a source elsewhere in the IPv4 internet
				binary.BigEndian.PutUint16(six[42:], uint16(offset|1))
				binary.BigEndian.PutUint32(six[44:], uint32(n))
				_ = unix.Sendto(out, four, unix.MSG_DONTWAIT, to4) // what does not fit a queue is not sent
				_ = unix.Sendto(in, six, unix.MSG_DONTWAIT, to6)
			}
		}
	})
	stop = sync.OnceValue(func() int {
		close(done)
		wg.Wait()
		unix.Close(out)
		unix.Close(in)
		return 2 * n
	})
	t.Cleanup(func() { stop() })
	return stop
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// memory is what a program has in memory now, and what it had at most, in KiB.
func memory(t *testing.T, p *process) (now, most int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(p.cmd.Process.Pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string) int {
		_, value, _ := strings.Cut(string(text), "\n"+name+":")
		n, err := strconv.Atoi(strings.Fields(value + " -")[0])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	return of("VmRSS"), of("VmHWM")
}
