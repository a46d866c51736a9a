package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// Ports of the server. Nothing listens at portClosed.
const (
	portHTTP     = 80
	portEcho     = 7
	portEchoNoDF = 1007 // its answers may be fragmented on the way, whatever their size
	portDNS      = 53
	portClosed   = 9
)

// dnsAnswer is the address that the server's DNS gives to every name.
var dnsAnswer = netip.MustParseAddr("203.0.113.53")

// serverOptions are the argument of serverRole.
type serverOptions struct {
	Addr netip.Addr
}

// serverRole is the server: HTTP (GET /N gives N octets, PUT gives back the SHA-256 of what was put), UDP echo with and without DF, and DNS.
func serverRole(ctx context.Context, arg json.RawMessage, report func(any) error) error {
	var opt serverOptions
	if err := json.Unmarshal(arg, &opt); err != nil {
		return err
	}
	at := func(port uint16) string { return netip.AddrPortFrom(opt.Addr, port).String() }
	web, err := net.Listen("tcp", at(portHTTP))
	if err != nil {
		return err
	}
	echo, err := net.ListenPacket("udp", at(portEcho))
	if err != nil {
		return err
	}
	echoNoDF, err := net.ListenPacket("udp", at(portEchoNoDF))
	if err != nil {
		return err
	}
	if err := setIP(echoNoDF, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT); err != nil {
		return err
	}
	dns, err := net.ListenPacket("udp", at(portDNS))
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(serveBlob), ReadHeaderTimeout: time.Minute}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(web) }) // ends with the role
	for _, conn := range []net.PacketConn{echo, echoNoDF} {
		wg.Go(func() { answerPackets(conn, func(b []byte) []byte { return b }) })
	}
	wg.Go(func() { answerPackets(dns, answerDNS) })
	err = report("ready")
	if err == nil {
		<-ctx.Done()
	}
	err = errors.Join(err, srv.Close(), echo.Close(), echoNoDF.Close(), dns.Close())
	wg.Wait()
	return err
}

// echoOptions are the argument of echoRole.
type echoOptions struct {
	Addr   netip.Addr
	Sizes  []int
	Forget bool // close the socket before an answer comes, and send each from another
	DF     bool // send all with DF, never in fragments
	NoDF   bool // send all without DF, to the echo that does the same
}

// echoRole sends UDP packets of these sizes to the server's echo, one after the other, and reports what did not come back as it was.
func echoRole(ctx context.Context, arg json.RawMessage, report func(any) error) error {
	var opt echoOptions
	if err := json.Unmarshal(arg, &opt); err != nil {
		return err
	}
	port := uint16(portEcho)
	if opt.NoDF {
		port = portEchoNoDF
	}
	dial := func() (*net.UDPConn, error) {
		return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(opt.Addr, port)))
	}
	if opt.Forget {
		for _, size := range opt.Sizes {
			conn, err := dial()
			if err != nil {
				return err
			}
			_, err = conn.Write(make([]byte, size))
			if err = errors.Join(err, conn.Close()); err != nil {
				return err
			}
		}
		return report([]string{})
	}
	conn, err := dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	switch {
	case opt.DF:
		err = setIP(conn, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	case opt.NoDF:
		err = setIP(conn, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	}
	if err != nil {
		return err
	}
	lost := []string{}
	for _, size := range opt.Sizes {
		// An answer that does not fit the path is lost, and teaches the server to send fragments the next time.
		var err error
		for wait := 200 * time.Millisecond; wait < 2*time.Second; wait *= 2 {
			if err = echoOnce(conn, size, wait); err == nil {
				break
			}
		}
		if err != nil {
			lost = append(lost, fmt.Sprintf("%d octets: %v", size, err))
		}
	}
	return report(lost)
}

// setIP sets a socket option of IPv4. conn is a socket of package net.
func setIP(conn any, option, value int) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	return setRawIP(raw, option, value)
}

func setRawIP(conn syscall.RawConn, option, value int) (err error) {
	called := conn.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, option, value))
	})
	return errors.Join(called, err)
}

func echoOnce(conn net.Conn, size int, wait time.Duration) error {
	sent, err := io.ReadAll(blob(int64(size)))
	if err != nil {
		return err
	}
	if _, err = conn.Write(sent); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	buf := make([]byte, 65536)
	for others := 0; ; others++ { // such as the late answer to an earlier try
		n, err := conn.Read(buf)
		switch {
		case err != nil && others > 0:
			return fmt.Errorf("%d others came back: %w", others, err)
		case err != nil || bytes.Equal(buf[:n], sent):
			return err
		}
	}
}

// blob is what GET /N gives: the same N octets each time, which do not compress.
func blob(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{}), n)
}

// hashOf is the SHA-256 of all that is read, in hexadecimal digits.
func hashOf(r io.Reader) (string, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), err
}

func serveBlob(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		n, err := strconv.ParseInt(r.URL.Path[1:], 10, 64)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		w.Header().Set("X-Client", r.RemoteAddr)
		if r.Method == http.MethodGet {
			_, _ = io.Copy(w, blob(n)) // the client sees what is missing
		}
	case http.MethodPut:
		sum, err := hashOf(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, sum)
	default:
		http.Error(w, "GET or PUT", http.StatusMethodNotAllowed)
	}
}

// answerPackets answers each packet until the socket is closed; nil is no answer.
func answerPackets(conn net.PacketConn, answer func([]byte) []byte) {
	buf := make([]byte, 65536)
	for {
		n, from, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier answer
		}
		if b := answer(buf[:n]); b != nil {
			_, _ = conn.WriteTo(b, from) // the client asks again
		}
	}
}

// answerDNS gives dnsAnswer for A, and no data for other types.
func answerDNS(query []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m = dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionDesired: m.RecursionDesired},
		Questions: m.Questions,
	}
	if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60},
			Body:   &dnsmessage.AResource{A: dnsAnswer.As4()},
		}}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}
