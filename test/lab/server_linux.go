package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"golang.org/x/sync/errgroup"
)

// maxBlob bounds what a client can ask for, in octets.
const maxBlob = 64 << 20

// server is the role of the IPv4-only server: HTTP, UDP echo and DNS. All other ports are closed. It reports when all is open.
func server(ctx context.Context, _ json.RawMessage, report func(any) error) error {
	addr := serverNet.Addr().String()
	var lc net.ListenConfig
	web, err := lc.Listen(ctx, "tcp4", net.JoinHostPort(addr, "80"))
	if err != nil {
		return err
	}
	echo, err := lc.ListenPacket(ctx, "udp4", net.JoinHostPort(addr, "7"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", hello)
	mux.HandleFunc("GET /blob", blob)
	mux.HandleFunc("PUT /blob", upload)
	h := &http.Server{Handler: mux}

	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { h.Close(); echo.Close() })
	defer stop()
	g.Go(func() error { return ignoreEnd(ctx, h.Serve(web)) })
	g.Go(func() error { return ignoreEnd(ctx, echoUDP(echo)) })
	g.Go(func() error {
		return nameServer{names: zone}.serve(ctx, addr, func() error { return report("ready") })
	})
	return g.Wait()
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func hello(w http.ResponseWriter, r *http.Request) {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	_, _ = io.WriteString(w, "Hello, "+from.Addr().Unmap().String()+"! This is an IPv4-only server.\n")
}

// blob sends as many random octets as asked for, and their hash as a trailer.
func blob(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.FormValue("bytes"), 10, 64)
	if err != nil || n < 0 || n > maxBlob {
		http.Error(w, "bytes: a number up to "+strconv.Itoa(maxBlob)+" is needed", http.StatusBadRequest)
		return
	}
	w.Header().Set("Trailer", "Sha256")
	hash := sha256.New()
	source := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	if _, err := io.CopyN(io.MultiWriter(w, hash), source, n); err != nil {
		return // the client is gone
	}
	w.Header().Set("Sha256", hex.EncodeToString(hash.Sum(nil)))
}

// upload answers with the hash of what was sent.
func upload(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(r.Body, maxBlob)); err != nil {
		return
	}
	_, _ = io.WriteString(w, hex.EncodeToString(hash.Sum(nil)))
}

func echoUDP(conn net.PacketConn) error {
	buf := make([]byte, 65535)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		_, _ = conn.WriteTo(buf[:n], from)
	}
}
