package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == netlab.Command {
		os.Exit(netlab.Main(os.Args[2:], nil))
	}
	os.Exit(m.Run())
}

// The server owns the address behind the NAT64 prefix itself: traffic is translated once, by the contender.
//
//	client eth0 ---------- eth0 server
//	contender               2001:db8:64::c633:640a on lo
var (
	clientAddr = netip.MustParsePrefix("2001:db8:1::1/64")
	serverAddr = netip.MustParsePrefix("2001:db8:1::2/64")
	clat6      = netip.MustParseAddr("2001:db8:c1a7::46")
	clat4      = netip.MustParseAddr("100.64.46.4")
	self4      = netip.MustParseAddr("100.64.46.5")
	prefix     = netip.MustParsePrefix("2001:db8:64::/96")
	target4    = netip.MustParseAddr("198.51.100.10")
	target6    = netip.MustParseAddr("2001:db8:64::c633:640a")
)

const (
	rounds   = 3
	seconds  = "2"
	patience = 10 * time.Second
)

// contender is a program that gives the client IPv4; native IPv6 is one that does nothing.
type contender struct {
	name   string
	target netip.Addr
	start  func(b *testing.B, client *netlab.Node) *exec.Cmd // nil: nothing to start
}

// BenchmarkThroughput prints the median of several interleaved rounds, and what the program reaches on either path of TAYGA's and of native IPv6's.
// Run it with -benchtime 1x: it measures by its own clock.
func BenchmarkThroughput(b *testing.B) {
	peers.NeedRoot(b)
	contenders := []contender{{"native IPv6", target6, nil}, {"TAYGA", target4, startTAYGA}, {"kernel", target4, startUclat(b, "kernel")},
		{"packet", target4, startUclat(b, "packet")}}
	tests := []struct {
		name string
		args []string
	}{{"up, 1 flow", nil}, {"down, 1 flow", []string{"-R"}}, {"up, 4 flows", []string{"-P", "4"}}, {"down, 4 flows", []string{"-R", "-P", "4"}}}
	got := map[string][][]float64{}
	for range rounds {
		for _, c := range contenders {
			runs := measure(b, c, func(iperf func(args ...string) float64) (r []float64) {
				for _, t := range tests {
					r = append(r, iperf(t.args...))
				}
				return r
			})
			got[c.name] = append(got[c.name], runs)
		}
	}
	fmt.Printf("\nTCP, Gbit/s, median of %d rounds of %s s   (x TAYGA, x native IPv6)\n", rounds, seconds)
	for i, t := range tests {
		tayga, native := median(got["TAYGA"], i), median(got["native IPv6"], i)
		fmt.Printf("  %-14s", t.name)
		for _, c := range contenders {
			m := median(got[c.name], i)
			fmt.Printf("   %s %6.2f (%5.2f, %4.2f)", c.name, m, m/tayga, m/native)
		}
		fmt.Println()
		for _, path := range []string{"kernel", "packet"} {
			b.ReportMetric(median(got[path], i)/tayga, strings.ReplaceAll(strings.ReplaceAll(t.name, ", ", "-"), " ", "-")+"-"+path+"-x-TAYGA")
		}
	}
}

func median(rounds [][]float64, i int) float64 {
	var v []float64
	for _, r := range rounds {
		v = append(v, r[i])
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// measure gives f a fresh network with the contender in it, and a function that runs iperf3 and returns Gbit/s at the receiver.
func measure(b *testing.B, c contender, f func(iperf func(args ...string) float64) []float64) []float64 {
	b.Helper()
	lab, err := netlab.New()
	check(b, err)
	defer func() { check(b, lab.Close()) }()
	client, err := lab.Node("client", netlab.NodeOptions{NoDAD: true})
	check(b, err)
	server, err := lab.Node("server", netlab.NodeOptions{NoDAD: true})
	check(b, err)
	check(b, netlab.Connect(client, "eth0", server, "eth0", netlab.LinkOptions{}))
	check(b, client.AddAddr("eth0", clientAddr))
	check(b, server.AddAddr("eth0", serverAddr))
	check(b, server.AddAddr("lo", netip.PrefixFrom(target6, 128)))
	check(b, server.AddRoute(netlab.Route{Dst: netip.PrefixFrom(clat6, 128), Via: clientAddr.Addr()}))
	check(b, client.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("::/0"), Via: serverAddr.Addr()}))

	iperf3 := peers.Find(b, "iperf3")
	daemon := background(b, server, iperf3, "-s", "-B", target6.String())
	defer end(daemon)
	if c.start != nil {
		defer end(c.start(b, client))
	}
	awaitEcho(b, client, c.target)
	return f(func(args ...string) float64 {
		var report struct {
			End struct {
				Received struct {
					BitsPerSecond float64 `json:"bits_per_second"`
				} `json:"sum_received"`
			}
			Error string
		}
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			text, err := command(client, iperf3, append([]string{"-c", c.target.String(), "-J", "-t", seconds}, args...)...).Output()
			jsonErr := json.Unmarshal(text, &report)
			if jsonErr == nil && report.Error == "" && err == nil {
				break
			}
			// The server opens its port anew for each test.
			if !strings.Contains(report.Error, "refused") || time.Now().After(deadline) {
				b.Fatalf("%s: iperf3: %v %v %s", c.name, err, jsonErr, report.Error)
			}
			report.Error = ""
		}
		return report.End.Received.BitsPerSecond / 1e9
	})
}

// startUclat starts the program on a path. Its address is routed to the client on both, so that the network is the same.
func startUclat(b *testing.B, on string) func(*testing.B, *netlab.Node) *exec.Cmd {
	path := filepath.Join(b.TempDir(), "uclat")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/uclat")
	build.Dir = peers.Root()
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("building the program: %v\n%s", err, out)
	}
	return func(b *testing.B, client *netlab.Node) *exec.Cmd {
		return background(b, client, peers.Program{Path: path, Env: os.Environ()}, "run", "--mode", "force", "--uplink", "eth0", "--path", on,
			"--state-dir", b.TempDir(), "--interface.ipv4", clat4.String(), "--pref64.prefixes", prefix.String(), "--address.ipv6", clat6.String())
	}
}

// startTAYGA starts TAYGA as a CLAT, with the same routes as the program makes.
func startTAYGA(b *testing.B, client *netlab.Node) *exec.Cmd {
	config := filepath.Join(b.TempDir(), "tayga.conf")
	text := fmt.Sprintf("tun-device clat0\nipv4-addr %s\nprefix %s\nmap %s %s\n", self4, prefix, clat4, clat6)
	check(b, os.WriteFile(config, []byte(text), 0o644))
	check(b, client.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	daemon := background(b, client, peers.Find(b, "tayga"), "-n", "-c", config, "-p", "/run/tayga.pid")
	for deadline := time.Now().Add(patience); client.SetUp("clat0", true) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("TAYGA makes no interface")
		}
	}
	check(b, client.AddAddr("clat0", netip.PrefixFrom(clat4, 32)))
	check(b, client.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Dev: "clat0", MTU: 1480}))
	check(b, client.AddRoute(netlab.Route{Dst: netip.PrefixFrom(clat6, 128), Dev: "clat0"}))
	return daemon
}

// awaitEcho waits until the target answers.
func awaitEcho(b *testing.B, client *netlab.Node, target netip.Addr) {
	b.Helper()
	ping := peers.Find(b, "ping")
	for deadline := time.Now().Add(patience); command(client, ping, "-c", "1", "-W", "1", target.String()).Run() != nil; {
		if time.Now().After(deadline) {
			b.Fatalf("%v does not answer", target)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func command(n *netlab.Node, p peers.Program, args ...string) *exec.Cmd {
	cmd := n.Command(context.Background(), p.Path, args...)
	cmd.Env = p.Env
	return cmd
}

func background(b *testing.B, n *netlab.Node, p peers.Program, args ...string) *exec.Cmd {
	b.Helper()
	cmd := command(n, p, args...)
	check(b, cmd.Start())
	return cmd
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
