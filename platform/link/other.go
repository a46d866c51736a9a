//go:build !linux

package link

import (
	"net"
	"net/netip"

	"uclat/clat/frame"
	"uclat/platform"
)

// Conn is not served on this system.
type Conn struct{}

// Open returns platform.ErrUnsupported.
func Open(Options) (*Conn, error) { return nil, unsupported() }

func (c *Conn) Read([]*frame.Frame) (int, error)                        { return 0, unsupported() }
func (c *Conn) Write([]*frame.Frame) (int, error)                       { return 0, unsupported() }
func (c *Conn) Batch() int                                              { return 0 }
func (c *Conn) Lost() (read, written uint64)                            { return 0, 0 }
func (c *Conn) Accept([]netip.Prefix) error                             { return unsupported() }
func (c *Conn) Via(map[netip.Prefix]net.HardwareAddr, net.HardwareAddr) {}
func (c *Conn) ReadND([]byte) (n int, from net.HardwareAddr, err error) { return 0, nil, unsupported() }
func (c *Conn) SendND(packet []byte, to, from net.HardwareAddr) error   { return unsupported() }
func (c *Conn) Join(netip.Addr) (leave func() error, err error)         { return nil, unsupported() }
func (c *Conn) Close() error                                            { return nil }

func unsupported() error { return platform.Unsupported("packet sockets") }
