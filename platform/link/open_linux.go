package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/fault"
)

// buffers is the size in octets of the data socket's buffers, which the kernel doubles for its own needs. A super-packet takes some 70 KB:
// with the usual 200 KB, one flow does not keep a fast link busy.
const buffers = 8 << 20

// Open opens packet sockets on a link, which may be down. Nothing is let in before Accept, and on links with neighbours nothing goes out
// before Via.
//
// Errors are one line each, and one of ErrPermission and ErrUnsuited where it is one of these.
func Open(o Options) (*Conn, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := inspect(o.Link)
	if err != nil {
		return nil, err
	}
	return openAs(o, s)
}

func openAs(o Options, s shape) (*Conn, error) {
	data, err := openData(o, s)
	if err != nil {
		return nil, err
	}
	nd, err := openND(o.Link, s)
	if err != nil {
		data.Close()
		return nil, err
	}
	c, err := newConn(o, s, data, nd)
	if err != nil {
		data.Close()
		nd.Close()
		return nil, fmt.Errorf("packet sockets on %s: %w", o.Link.Name, err)
	}
	return c, nil
}

// openData opens the socket for data. It hears nothing before it is bound, and then only what the filter lets in.
func openData(o Options, s shape) (_ *os.File, err error) {
	fd, err := unix.Socket(unix.AF_PACKET, s.socket|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, explain(o.Link.Name, "open", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := attach(fd, nothing()); err != nil {
		return nil, explain(o.Link.Name, "attach a filter", err)
	}
	if s.vnet {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return nil, unsuited(o.Link.Name, "this kernel's packet sockets know no virtio headers", err)
		}
	}
	ignoreOutgoing(fd)
	for _, b := range []struct {
		name        string
		force, mild int
	}{{"send", unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}, {"receive", unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.force, buffers); err == nil {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.mild, buffers); err != nil {
			return nil, explain(o.Link.Name, "size the "+b.name+" buffer", err)
		}
		o.Log.Warn("packets may get lost under load: the kernel gives a packet socket less room than asked for; CAP_NET_ADMIN lifts that",
			"interface", o.Link.Name, "buffer", b.name, "octets", buffers)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IPV6), Ifindex: o.Link.Index}); err != nil {
		return nil, explain(o.Link.Name, "bind", err)
	}
	return os.NewFile(uintptr(fd), "packet socket on "+o.Link.Name), nil
}

// openND opens the socket for Neighbor Discovery, in the same way.
func openND(l platform.Link, s shape) (*packet.Conn, error) {
	kind := packet.Raw
	if s.socket == unix.SOCK_DGRAM {
		kind = packet.Datagram
	}
	nd, err := packet.Listen(&net.Interface{Index: l.Index, Name: l.Name}, kind, unix.ETH_P_IPV6, &packet.Config{Filter: nothing()})
	if err != nil {
		return nil, explain(l.Name, "open", err)
	}
	raw, err := nd.SyscallConn()
	if err != nil {
		nd.Close()
		return nil, explain(l.Name, "open", err)
	}
	if err := raw.Control(func(fd uintptr) { ignoreOutgoing(int(fd)) }); err != nil {
		nd.Close()
		return nil, explain(l.Name, "open", err)
	}
	return nd, nil
}

// ignoreOutgoing spares the kernel to run the filter, which rejects them, on what the host itself sends. Kernels before 4.20 cannot.
func ignoreOutgoing(fd int) {
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
}

// nothing is a program that lets nothing in.
func nothing() []bpf.RawInstruction {
	return []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K}}
}

// attach makes p the socket's filter in place of the one it has, in one step.
func attach(fd int, p []bpf.RawInstruction) error {
	filter := make([]unix.SockFilter, len(p))
	for i, in := range p {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// htons is n with its octets in the network's order.
func htons(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

// explain turns the kernel's errno into what it means here and what to do.
func explain(name, step string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &fault.Error{Kind: ErrPermission, Cause: err, Line: fmt.Sprintf("packet socket on %s: %s: %v: run as root, or give the program "+
			"CAP_NET_RAW and CAP_NET_ADMIN (in a container: --cap-add=NET_RAW --cap-add=NET_ADMIN)", name, step, err)}
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT):
		return unsuited(name, "this kernel has no packet sockets (modprobe af_packet)", err)
	}
	return fmt.Errorf("packet socket on %s: %s: %w", name, step, err)
}

// unsuited is an error of a link or a kernel that path packet does not serve.
func unsuited(name, why string, err error) error {
	line := fmt.Sprintf("packet socket on %s: %s", name, why)
	if err != nil {
		line += ": " + err.Error()
	}
	return &fault.Error{Kind: ErrUnsuited, Cause: err, Line: line + `: set path = "kernel"`}
}
