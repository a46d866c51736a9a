package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// stubOptions are the argument of stubRole.
type stubOptions struct {
	Upstream netip.Addr
}

// stubRole is a resolver at 127.0.0.53 that hands every question on, over UDP.
func stubRole(ctx context.Context, arg json.RawMessage, report func(any) error) error {
	var opt stubOptions
	if err := json.Unmarshal(arg, &opt); err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp", "127.0.0.53:53")
	if err != nil {
		return err
	}
	ask := func(query []byte) []byte {
		upstream, err := net.Dial("udp", netip.AddrPortFrom(opt.Upstream, portDNS).String())
		if err != nil {
			return nil
		}
		defer upstream.Close()
		answer := make([]byte, 4096)
		n, err := 0, upstream.SetDeadline(time.Now().Add(soon))
		if err == nil {
			_, err = upstream.Write(query)
		}
		if err == nil {
			n, err = upstream.Read(answer)
		}
		if err != nil {
			return nil
		}
		return answer[:n]
	}
	var wg sync.WaitGroup
	wg.Go(func() { answerPackets(conn, ask) })
	err = report("ready")
	if err == nil {
		<-ctx.Done()
	}
	err = errors.Join(err, conn.Close())
	wg.Wait()
	return err
}
