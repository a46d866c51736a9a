package ra

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv6"

	"uclat/discovery"
	"uclat/test/lab/netlab"
)

var roles = netlab.Roles{"listen": listenRole, "router": routerRole, "send": sendRole, "capture": captureRole}

// ready is what listenRole reports when its socket is open.
var ready = discovery.Advertisement{Link: -1}

// listenRole is a Listener that solicits on the interfaces whose names are its argument. It reports each Advertisement, and first that
// it is ready. On SIGHUP it looks the interfaces up again and solicits, as on a change of the network.
func listenRole(ctx context.Context, arg json.RawMessage, report func(any) error) error {
	var names []string
	if err := json.Unmarshal(arg, &names); err != nil {
		return err
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGHUP)
	open, err := system()
	if err != nil {
		return err
	}
	l := New(Options{Listen: func() (Socket, error) {
		s, err := open()
		if err == nil {
			err = report(ready)
		}
		return s, err
	}})
	set := func() {
		var links []Link
		for _, name := range names {
			if ifi, err := net.InterfaceByName(name); err == nil {
				links = append(links, Link{Index: ifi.Index, Name: name})
			}
		}
		l.SetLinks(links)
		for _, link := range links {
			l.Solicit(link.Index)
		}
	}
	go func() {
		for range changed {
			set()
		}
	}()
	set()
	return l.Run(ctx, func(ad discovery.Advertisement) { _ = report(ad) })
}

// captureRole reports each Router Solicitation that comes by the interface whose name is its argument, as a frame in hexadecimal digits,
// and first that it is ready.
func captureRole(ctx context.Context, arg json.RawMessage, report func(any) error) error {
	var name string
	if err := json.Unmarshal(arg, &name); err != nil {
		return err
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	c, err := packet.Listen(ifi, packet.Raw, 0x86dd, nil)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer c.Close()
	if err := report("ready"); err != nil {
		return err
	}
	b := make([]byte, 1<<16)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		const header = 14 + 40
		if n > header && b[14+6] == 58 && b[header] == 133 {
			if err := report(hex.EncodeToString(b[:n])); err != nil {
				return err
			}
		}
	}
}

// routerRole answers Router Solicitations on the interface whose name is its argument with an advertisement, and reports each as text:
// the hop limit, the source, and the link-layer address in it.
func routerRole(ctx context.Context, arg json.RawMessage, report func(any) error) error {
	var name string
	if err := json.Unmarshal(arg, &name); err != nil {
		return err
	}
	c, err := connect(ctx, name, ndp.LinkLocal)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer c.Close()
	if err := c.JoinGroup(netip.IPv6LinkLocalAllRouters()); err != nil {
		return err
	}
	if err := c.SetControlMessage(ipv6.FlagHopLimit, true); err != nil {
		return err
	}
	if err := report("ready"); err != nil {
		return err
	}
	for {
		m, cm, from, err := c.ReadFrom()
		if err != nil {
			return err
		}
		rs, ok := m.(*ndp.RouterSolicitation)
		if !ok {
			continue
		}
		text := fmt.Sprint(cm.HopLimit, " ", from.WithZone(""))
		for _, o := range rs.Options {
			if a, ok := o.(*ndp.LinkLayerAddress); ok {
				text += " " + a.Addr.String()
			}
		}
		if err := report(text); err != nil {
			return err
		}
		if err := c.WriteTo(&ndp.RouterAdvertisement{RouterLifetime: time.Hour}, nil, netip.IPv6LinkLocalAllNodes()); err != nil {
			return err
		}
	}
}

// sent is a Router Advertisement that sendRole sends.
type sent struct {
	From     string // address; empty: link-local
	HopLimit int
	Lifetime int // seconds
	Options  [][]byte
}

// sendRole sends what its argument says.
func sendRole(ctx context.Context, arg json.RawMessage, _ func(any) error) error {
	var job struct {
		Interface string
		Messages  []sent
	}
	if err := json.Unmarshal(arg, &job); err != nil {
		return err
	}
	for _, m := range job.Messages {
		from := ndp.LinkLocal
		if m.From != "" {
			from = ndp.Addr(m.From)
		}
		c, err := connect(ctx, job.Interface, from)
		if err != nil {
			return err
		}
		ad := &ndp.RouterAdvertisement{RouterLifetime: time.Duration(m.Lifetime) * time.Second}
		for _, o := range m.Options {
			ad.Options = append(ad.Options, &ndp.RawOption{Type: o[0], Length: o[1], Value: o[2:]})
		}
		err = c.WriteTo(ad, &ipv6.ControlMessage{HopLimit: m.HopLimit}, netip.IPv6LinkLocalAllNodes())
		c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// connect is ndp.Listen, as soon as the address can be used.
func connect(ctx context.Context, name string, addr ndp.Addr) (*ndp.Conn, error) {
	for {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return nil, err
		}
		c, _, err := ndp.Listen(ifi, addr)
		if err == nil {
			return c, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// asked is what routerRole reports of one.
func asked(hopLimit int, from netip.Addr, hardware net.HardwareAddr) string {
	if hardware == nil {
		return fmt.Sprint(hopLimit, " ", from)
	}
	return fmt.Sprint(hopLimit, " ", from, " ", hardware)
}
