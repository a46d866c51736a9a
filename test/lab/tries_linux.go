package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// result is what became of one try.
type result struct {
	Name    string
	Detail  string        // what happened, or what was wrong
	OK      bool          // whether that is what should happen
	Elapsed time.Duration // nanoseconds
}

// A try is something that an ordinary program does on the laptop. It returns what happened in a few words.
type try struct {
	name string
	do   func(ctx context.Context) (string, error)
}

const tryTime = 20 * time.Second

// tries is the role that does all of them in turn and reports a result for each.
func tries(ctx context.Context, _ json.RawMessage, report func(any) error) error {
	for _, t := range []try{
		{"ping", ping},
		{"ping in fragments", pingFragments},
		{"HTTP, by address", webPage},
		{"download 20 MB", download},
		{"upload 20 MB", uploadBlob},
		{"UDP echo", echoSmall},
		{"UDP in fragments", echoFragments},
		{"DNS, @198.51.100.10", askServer},
		{"closed UDP port", closedUDP},
		{"closed TCP port", closedTCP},
		{"traceroute", traceroute},
		{"path MTU", pathMTU},
		{"IPv6, by DNS64 name", webPageByName},
	} {
		if err := report(t.run(ctx)); err != nil {
			return err
		}
	}
	return nil
}

func (t try) run(ctx context.Context) result {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	start := time.Now()
	detail, err := t.do(ctx)
	r := result{Name: t.name, Detail: detail, OK: err == nil, Elapsed: time.Since(start)}
	if err != nil {
		r.Detail = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return r
}

// withoutIPv4 makes sure that there is something to show: before uclat runs, the address cannot be reached. Elsewhere than in
// the tries because it comes before them.
func withoutIPv4(ctx context.Context, _ json.RawMessage, report func(any) error) error {
	return report(try{"before uclat", func(ctx context.Context) (string, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp4", serverPort("80"))
		switch {
		case err == nil:
			conn.Close()
			return "", errors.New("the laptop reaches IPv4 without uclat: this lab shows nothing")
		case errors.Is(err, syscall.ENETUNREACH):
			return "connect: network is unreachable, as it should be", nil
		}
		return "", err
	}}.run(ctx))
}

func serverPort(port string) string { return net.JoinHostPort(serverNet.Addr().String(), port) }

// client makes a new connection for each request: each try is about the way, not about what is left from the last.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}}
}

func get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client().Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("HTTP status %s", resp.Status)
	}
	return resp, nil
}

func firstLine(ctx context.Context, url string) (string, error) {
	resp, err := get(ctx, url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	line, _, _ := strings.Cut(string(body), "\n")
	return `"` + line + `"`, err
}

func webPage(ctx context.Context) (string, error) {
	return firstLine(ctx, "http://"+serverNet.Addr().String()+"/")
}

func webPageByName(ctx context.Context) (string, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip6", serverName)
	if err != nil {
		return "", err
	}
	return firstLine(ctx, "http://["+addrs[0].String()+"]/")
}

const blobLen = 20_000_000

func download(ctx context.Context) (string, error) {
	start := time.Now()
	resp, err := get(ctx, fmt.Sprintf("http://%v/blob?bytes=%d", serverNet.Addr(), blobLen))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, resp.Body)
	if err != nil {
		return "", err
	}
	return compare(n, hex.EncodeToString(hash.Sum(nil)), resp.Trailer.Get("Sha256"), time.Since(start))
}

func uploadBlob(ctx context.Context) (string, error) {
	blob := make([]byte, blobLen)
	_, _ = rand.Read(blob)
	start := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, fmt.Sprintf("http://%v/blob", serverNet.Addr()), bytes.NewReader(blob))
	if err != nil {
		return "", err
	}
	resp, err := client().Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	theirs, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if err != nil {
		return "", err
	}
	elapsed := time.Since(start)
	ours := sha256.Sum256(blob)
	return compare(blobLen, hex.EncodeToString(ours[:]), string(theirs), elapsed)
}

func compare(n int64, ours, theirs string, elapsed time.Duration) (string, error) {
	if n != blobLen || ours != theirs {
		return "", fmt.Errorf("%d octets with SHA-256 %.12s, the server says %d with %.12s", n, ours, blobLen, theirs)
	}
	return fmt.Sprintf("%.0f Mbit/s, SHA-256 %.8s on both sides", float64(n)*8/elapsed.Seconds()/1e6, ours), nil
}

func echo(ctx context.Context, sizes ...int) error {
	conn, err := new(net.Dialer).DialContext(ctx, "udp4", serverPort("7"))
	if err != nil {
		return err
	}
	defer conn.Close()
	back := make([]byte, 65535)
	for _, n := range sizes {
		sent := make([]byte, n)
		_, _ = rand.Read(sent)
		if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write(sent); err != nil {
			return err
		}
		got, err := conn.Read(back)
		if err != nil {
			return fmt.Errorf("%d octets: %w", n, err)
		}
		if !bytes.Equal(sent, back[:got]) {
			return fmt.Errorf("%d octets sent, %d other octets came back", n, got)
		}
	}
	return nil
}

func echoSmall(ctx context.Context) (string, error) {
	return "0, 1, 512 and 1300 octets came back", echo(ctx, 0, 1, 512, 1300)
}

func echoFragments(ctx context.Context) (string, error) {
	return "4000 and 9000 octets came back", echo(ctx, 4000, 9000)
}

func askServer(ctx context.Context) (string, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, serverPort("53"))
	}}
	addrs, err := r.LookupNetIP(ctx, "ip4", serverName)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is %v", serverName, addrs[0]), nil
}

func closedUDP(ctx context.Context) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp4", serverPort("9"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("anybody?")); err != nil {
		return "", err
	}
	return refused(func() error { _, err := conn.Read(make([]byte, 100)); return err }())
}

func closedTCP(ctx context.Context) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", serverPort("9"))
	if err == nil {
		conn.Close()
	}
	return refused(err)
}

func refused(err error) (string, error) {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return "", fmt.Errorf("connection refused was expected, not: %v", err)
	}
	return "connection refused, at once", nil
}

// pathMTU sends packets that must not be fragmented until the kernel has learned from the answers what fits.
func pathMTU(ctx context.Context) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp4", serverPort("7"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return "", err
	}
	var mtu int
	option := func(f func(fd int) error) error {
		var inner error
		return errors.Join(raw.Control(func(fd uintptr) { inner = f(int(fd)) }), inner)
	}
	if err := option(func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	}); err != nil {
		return "", err
	}
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err := option(func(fd int) (err error) {
			mtu, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
			return err
		}); err != nil {
			return "", err
		}
		if mtu == serverMTU {
			return fmt.Sprintf("%d octets learned from the hop's Fragmentation Needed", mtu), nil
		}
		// Refused with EMSGSIZE once the kernel knows; before that it comes back as an error.
		if _, err := conn.Write(make([]byte, mtu-28)); err != nil && !errors.Is(err, syscall.EMSGSIZE) {
			return "", err
		}
	}
	return "", fmt.Errorf("the kernel believes in %d octets, %d would be right", mtu, serverMTU)
}
