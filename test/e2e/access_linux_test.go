package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// atOnce is how long a closed port may take to be refused.
const atOnce = 2 * time.Second

// TestAccess reaches an IPv4-only server from an IPv6-only laptop, by its address, with the programs that people use, while a capture
// on the uplink shows that nothing of it leaves the laptop but IPv6.
func TestAccess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		flags func(path, ...string) []string
	}{
		{"everything is configured", path.configured},
		{"PREF64 by RFC 7050 from a DNS64", path.discovering},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachPath(t, func(t *testing.T, top *topology) { testAccess(t, top, c.flags(top.path)) })
		})
	}
}

func testAccess(t *testing.T, top *topology, flags []string) {
	before := dump(t, top.laptop)
	uplink := startCapture(t, top.laptop, "eth0", "")
	p := top.up(t, flags...)
	self6 := p.addr6(t).String()
	top.access(t)
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
	frames := uplink.frames(t)
	if len(frames) < 1000 {
		t.Errorf("the capture has %d frames, which is not all of it", len(frames))
	}
	for _, f := range frames {
		if what := leak(f); what != "" {
			t.Fatalf("%s left the laptop: % x", what, f)
		}
	}
	// What leaves includes errors of the laptop's own, with a packet in them.
	const next, kind, unreachable = 14 + 6, 14 + 40, 1
	if !slices.ContainsFunc(frames, func(f []byte) bool {
		return source6(f) == self6 && f[next] == syscall.IPPROTO_ICMPV6 && f[kind] == unreachable
	}) {
		t.Errorf("no ICMPv6 error came from %s", self6)
	}
}

// access is all that the laptop does with IPv4.
func (top *topology) access(t *testing.T) {
	t.Run("ping", func(t *testing.T) { top.ping4(t) })
	t.Run("curl: download and upload of 20 MB, without a Packet Too Big", top.transfer)
	t.Run("wget", func(t *testing.T) {
		out := must(t, top.laptop, peers.Find(t, "wget"), "-q", "-O", "-", "--timeout=20", top.url(1_000_000))
		checkBlob(t, out, 1_000_000)
	})
	t.Run("dig", func(t *testing.T) {
		got := must(t, top.laptop, peers.Find(t, "dig"), "+short", "+time=2", "@"+server4.String(), "a.test", "A")
		if got != dnsAnswer.String()+"\n" {
			t.Errorf("DNS says %q", got)
		}
	})
	t.Run("UDP echo of all sizes, in fragments too", func(t *testing.T) {
		// 1452 octets fill a packet of 1480, the route's MTU; 1472 would fill 1500.
		top.echo(t, 0, 1, 2, 7, 8, 9, 63, 64, 511, 512, 1000, 1231, 1232, 1233, 1279, 1280, 1400, 1451, 1452, 1453, 1471, 1472, 1473, 4000, 9000)
	})
	t.Run("UDP whose sender is gone: the laptop answers the answers with errors", func(t *testing.T) {
		var none []string
		top.askRole(t, top.laptop, "echo", echoOptions{Addr: server4, Sizes: slices.Repeat([]int{100}, 20), Forget: true}, &none)
	})
	t.Run("traceroute", top.traceroute)
	t.Run("tracepath", func(t *testing.T) {
		if out := must(t, top.laptop, peers.Find(t, "tracepath"), "-n", server4.String()); !strings.Contains(out, "pmtu 1480") {
			t.Errorf("tracepath says\n%s", out)
		}
	})
	t.Run("iperf3: up, down and UDP", top.iperf3)
	t.Run("nc: both ways in one connection", func(t *testing.T) {
		const port, there, back = "4000", "over TCP to the server\n", "and back to the laptop\n"
		nc := peers.Find(t, "nc")
		listener := startInput(t, top.server, back, nc, "-l", "-n", "-v", "-N", server4.String(), port)
		listener.wait(t, "Listening")
		if r := tryInput(t, top.laptop, there, nc, "-N", "-w", "5", server4.String(), port); r.code != 0 || r.stdout != back {
			t.Errorf("nc: %+v", r)
		}
		listener.wait(t, there)
	})
	t.Run("closed ports refuse at once", func(t *testing.T) {
		const refused = 7 // curl's exit code
		began := time.Now()
		tcp := try(t, top.laptop, peers.Find(t, "curl"), "-sS", "--max-time", "5", fmt.Sprintf("http://%s:%d/", server4, portClosed))
		if tcp.code != refused {
			t.Errorf("TCP: %+v", tcp)
		}
		udp := try(t, top.laptop, peers.Find(t, "dig"), "+time=5", "+tries=1", "-p", fmt.Sprint(portClosed), "@"+server4.String(), "a.test")
		if !strings.Contains(udp.stdout, "connection refused") {
			t.Errorf("UDP: %+v", udp)
		}
		if took := time.Since(began); took > atOnce {
			t.Errorf("it took %v", took)
		}
	})
}

// ping4 pings the server by its IPv4 address.
func (top *topology) ping4(t *testing.T) {
	t.Helper()
	// It goes on until it has three answers: one that takes longer than the interval is not lost, and there may be one more then.
	out := must(t, top.laptop, peers.Find(t, "ping"), "-c", "3", "-i", "0.1", "-w", "5", server4.String())
	if _, received := pingTotals(t, out); received < 3 {
		t.Errorf("ping says\n%s", out)
	}
}

// url is that of a file of so many octets on the server, by IPv4 address.
func (top *topology) url(size int) string {
	return fmt.Sprintf("http://%s:%d/%d", server4, portHTTP, size)
}

func checkBlob(t *testing.T, got string, size int64) {
	t.Helper()
	want, err := hashOf(blob(size))
	if err != nil {
		t.Fatal(err)
	}
	if hash, _ := hashOf(strings.NewReader(got)); hash != want {
		t.Errorf("the download has %d octets and hash %s, want %d and %s", len(got), hash, size, want)
	}
}

// curlBothWays downloads and uploads a file of so many octets and compares.
func (top *topology) curlBothWays(t *testing.T, size int64) {
	t.Helper()
	top.download(t, top.laptop, size)
	top.upload(t, top.laptop, size)
}

func (top *topology) download(t *testing.T, n *netlab.Node, size int64) {
	t.Helper()
	checkBlob(t, must(t, n, peers.Find(t, "curl"), "-sS", "--fail", "--max-time", "30", top.url(int(size))), size)
}

func (top *topology) upload(t *testing.T, n *netlab.Node, size int64) {
	t.Helper()
	data, err := io.ReadAll(blob(size))
	if err != nil {
		t.Fatal(err)
	}
	want, err := hashOf(blob(size))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := must(t, n, peers.Find(t, "curl"), "-sS", "--fail", "--max-time", "30", "-T", file, top.url(0)); got != want+"\n" {
		t.Errorf("the upload has hash %q, want %s", got, want)
	}
}

// transfer moves 20 MB each way. The segments are full: each fills the uplink's MTU once it is IPv6. Had any link been given a smaller MTU
// than the others, a Packet Too Big or a Fragmentation Needed would tell.
func (top *topology) transfer(t *testing.T) {
	const size = 20_000_000
	const errors = "(icmp6 and ip6[40] == 2) or (icmp[icmptype] == 3 and icmp[icmpcode] == 4)"
	onUplink := startCapture(t, top.laptop, "eth0", errors)
	onTUN := startCapture(t, top.laptop, tunDev, errors+" or (ip and tcp[tcpflags] & tcp-syn != 0)")
	top.curlBothWays(t, size)
	if n := len(onUplink.frames(t)); n > 0 {
		t.Errorf("%d errors about packets that are too big on the uplink", n)
	}
	var segments []int
	for _, f := range onTUN.frames(t) { // without a link-layer header
		const header, mssOption = 20, 40
		if f[0]>>4 != 4 || f[9] != syscall.IPPROTO_TCP {
			t.Errorf("an error about a packet that is too big on %s: % x", tunDev, f)
			continue
		}
		if f[header+13]&0x10 == 0 && f[mssOption] == 2 { // SYN without ACK: the laptop's
			segments = append(segments, int(f[mssOption+2])<<8|int(f[mssOption+3]))
		}
	}
	if !slices.Equal(segments, []int{1440, 1440}) {
		t.Errorf("the laptop offers segments of %v octets, want 1440: 1500 less the headers of IPv6 and TCP", segments)
	}
}

// echo sends UDP of these sizes to the server, which sends it back.
func (top *topology) echo(t *testing.T, sizes ...int) {
	t.Helper()
	if lost := top.echoes(t, echoOptions{Sizes: sizes}); len(lost) > 0 {
		t.Errorf("UDP echo: %s", strings.Join(lost, ", "))
	}
}

// echoes sends UDP to the server and returns what did not come back as it was.
func (top *topology) echoes(t *testing.T, opt echoOptions) (lost []string) {
	t.Helper()
	opt.Addr = server4
	top.askRole(t, top.laptop, "echo", opt, &lost)
	return lost
}

// traceroute shows the way: first the translator, by its own address, then IPv6 routers, which have no IPv4 address.
func (top *topology) traceroute(t *testing.T) {
	for _, probe := range probes {
		t.Run(probe.name, func(t *testing.T) {
			var addrs []string
			for _, h := range top.hops(t, probe.args...) {
				addrs = append(addrs, h.addr)
			}
			if len(addrs) < 3 || addrs[0] != translator || addrs[1] != unmapped || addrs[len(addrs)-1] != server4.String() ||
				slices.Contains(addrs, "*") || slices.Contains(addrs, "100.64.46.4") {
				t.Errorf("hops are %v", addrs)
			}
		})
	}
}

func (top *topology) iperf3(t *testing.T) {
	iperf3 := peers.Find(t, "iperf3")
	server := start(t, top.server, iperf3, "-s", "--forceflush", "-B", server4.String())
	for i, args := range [][]string{{"-n", "40M"}, {"-n", "40M", "-R"}, {"-u", "-b", "10M", "-n", "500K"}} {
		server.wait(t, fmt.Sprintf("(test #%d)", i+1)) // it serves one after the other
		var report struct {
			End struct {
				Received struct{ Bytes int64 } `json:"sum_received"`
				UDP      struct {
					Packets int64
					Lost    float64 `json:"lost_percent"`
				} `json:"sum"`
			}
		}
		out := must(t, top.laptop, iperf3, append([]string{"-J", "-c", server4.String()}, args...)...)
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatal(err)
		}
		ok := report.End.Received.Bytes > 30_000_000
		if args[0] == "-u" {
			// What a busy machine drops of UDP is no fault of ours, as long as it is little.
			ok = report.End.UDP.Packets > 100 && report.End.UDP.Lost < 20
		}
		if !ok {
			t.Errorf("iperf3 %v: %+v", args, report.End)
		}
	}
}
