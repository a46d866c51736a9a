package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestConnectionOutlivesProgram kills the program while a TCP connection is used, and starts another. The laptop's sockets live on, and the
// address is the same: the connection goes on, and not an octet of it is missing. Between the two, the laptop is as it was before.
func TestConnectionOutlivesProgram(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		forward bool // another program turns forwarding on while packets go, and off once this one is killed
	}{{"a host", false}, {"a host that forwards for a while", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := newNetwork(t, network{path: onPacket, lan: bridge})
			top.setSysctl(t, acceptRAEth0, "2")
			quickly(t, top.laptop, "eth0")
			before := dump(t, top.laptop)
			p := top.up(t)
			addr := p.addr6(t)
			top.addr6 = addr.String()
			running := dump(t, top.laptop)
			silent := fmt.Sprintf("route %s/128 table 254 type 6 protocol 46 metric 1024 scope universe dev lo", addr)
			talk := top.startTalk(t)
			if c.forward {
				top.setSysctl(t, allForwarding, "1")
				eventually(t, "the kernel is kept silent", func() bool { return strings.Contains(dump(t, top.laptop), silent) })
				talk.goesOn(t)
				if got := programsRoutes(running, dump(t, top.laptop)); got != silent {
					t.Errorf("the program adds\n%s\nwant\n%s", got, silent)
				}
			}
			said := top.kernelSays(t)
			p.stop(t, syscall.SIGKILL)
			eventually(t, "the device is gone", func() bool { return !top.has(tunDev) })
			if c.forward {
				if got := programsRoutes(before, dump(t, top.laptop)); got != silent {
					t.Errorf("of the program is left\n%s\nwant\n%s", got, silent)
				}
				still := startCapture(t, top.bridge, "laptop0", "tcp and dst host "+addr.String())
				eventually(t, "the server repeats what nobody has acknowledged", func() bool { return still.seen(t) > 1 })
				if n := said(); n > 0 {
					t.Errorf("the kernel says %d words to that", n)
				}
				top.setSysctl(t, allForwarding, "0")
			} else {
				top.unchanged(t, before)
			}
			p = top.up(t)
			if got := p.addr6(t); got != addr {
				t.Errorf("it takes %s, and before %s", got, addr)
			}
			if strings.Contains(dump(t, top.laptop), silent) {
				t.Error("it leaves the route there")
			}
			talk.goesOn(t)
			talk.end(t)
			down(t, p, syscall.SIGTERM)
			top.unchanged(t, before)
		})
	}
}

// programsRoutes are the routes with the program's protocol number that the second dump has and the first has not.
func programsRoutes(before, after string) string {
	_, added := changes(before, after)
	var routes []string
	for _, line := range added {
		if strings.HasPrefix(line, "route ") && strings.Contains(line, " protocol 46 ") {
			routes = append(routes, line)
		}
	}
	return strings.Join(routes, "\n")
}

// talk is a TCP connection in which the server says again what the laptop says, a little all the time.
type talk struct {
	conn         net.Conn
	over         chan struct{} // closed when the laptop shall say no more
	side         sync.WaitGroup
	said         []byte // by the laptop
	heard        bytes.Buffer
	back         atomic.Int64 // octets that came back
	writes, read error
}

// startTalk begins one, and returns when something has come back.
func (top *topology) startTalk(t *testing.T) *talk {
	t.Helper()
	k := &talk{over: make(chan struct{})}
	var listener net.Listener
	inside(t, top.server, func() (err error) {
		listener, err = net.Listen("tcp4", netip.AddrPortFrom(server4, 0).String())
		return err
	})
	t.Cleanup(func() { listener.Close() })
	inside(t, top.laptop, func() (err error) {
		k.conn, err = net.DialTimeout("tcp4", listener.Addr().String(), patience)
		return err
	})
	parrot, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	k.side.Go(func() {
		defer parrot.Close()
		_, _ = io.Copy(parrot, parrot) // the laptop hears what is missing
	})
	k.side.Go(k.write)
	k.side.Go(k.listen)
	var once sync.Once
	t.Cleanup(func() {
		once.Do(func() {
			k.conn.Close()
			parrot.Close()
		})
		k.side.Wait()
	})
	k.goesOn(t)
	return k
}

// write says a little every few milliseconds.
func (k *talk) write() {
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-k.over:
			k.writes = k.conn.(*net.TCPConn).CloseWrite()
			return
		case <-pace.C:
		}
		word := fmt.Appendf(nil, "%0*d ", 1000, n)
		k.said = append(k.said, word...)
		if _, err := k.conn.Write(word); err != nil {
			k.writes = err
			return
		}
	}
}

func (k *talk) listen() {
	buf := make([]byte, 65536)
	for {
		n, err := k.conn.Read(buf)
		k.heard.Write(buf[:n])
		k.back.Add(int64(n))
		if err != nil {
			k.read = err
			return
		}
	}
}

// goesOn waits until what is said now has come back.
func (k *talk) goesOn(t *testing.T) {
	t.Helper()
	const enough = 200_000 // more than the buffers of both kernels kept of the time before
	is := k.back.Load()
	eventually(t, "the connection goes on", func() bool { return k.back.Load() > is+enough })
}

// end has the laptop say goodbye, and compares all that came back with all that was said.
func (k *talk) end(t *testing.T) {
	t.Helper()
	close(k.over)
	if err := k.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Error(err)
	}
	k.side.Wait()
	if err := errors.Join(k.writes, k.read); !errors.Is(err, io.EOF) || k.writes != nil {
		t.Errorf("the connection ends with %v", err)
	}
	if !bytes.Equal(k.said, k.heard.Bytes()) {
		t.Errorf("%d octets were said, and %d others came back", len(k.said), k.heard.Len())
	}
}
