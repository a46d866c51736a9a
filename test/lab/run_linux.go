package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// upTime is how long uclat may take until the laptop has IPv4.
const upTime = 20 * time.Second

// Run builds the lab, starts this program as uclat on the laptop and tries everything, or gives the user a shell there. It returns
// whether all went well; an error means that the lab could not be built.
func Run(ctx context.Context, o Options) (ok bool, err error) {
	l, err := newLab()
	if err != nil {
		return false, err
	}
	t := &table{out: o.Out}
	fmt.Fprint(o.Out, drawing)
	began := time.Now()
	defer func() {
		if ctx.Err() != nil {
			ok, err = false, errors.New("lab: interrupted")
		}
	}()
	n, err := start(ctx, l)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if !o.Shell {
		t.head()
		t.row(result{Name: "the lab", OK: true, Elapsed: time.Since(began), Detail: "5 hosts; the laptop has IPv6 from its router"})
		if err := n.report(ctx, "without-ipv4", t); err != nil {
			return false, err
		}
	}
	before, err := n.laptop.Dump()
	if err != nil {
		return false, err
	}
	u, err := n.startUclat(ctx)
	if err != nil {
		return false, err
	}
	defer u.end()
	began = time.Now()
	if err := n.awaitIPv4(ctx, u); err != nil && ctx.Err() == nil {
		t.row(result{Name: "uclat starts", Detail: err.Error(), Elapsed: time.Since(began)})
		fmt.Fprintf(o.Out, "\n  uclat said:\n%s", indent(u.said()))
		return false, nil
	}
	if o.Shell {
		return true, n.shell(ctx, o)
	}
	t.row(result{Name: "uclat starts", OK: true, Elapsed: time.Since(began), Detail: "PREF64 from the router, 100.64.46.4 on " + tunName})
	if err := n.report(ctx, "tries", t); err != nil || ctx.Err() != nil {
		return false, err
	}
	t.row(n.stopUclat(u, before))
	return n.summary(o.Out, t, u), nil
}

func (n *internet) summary(out io.Writer, t *table, u *uclat) bool {
	if !t.ok() {
		fmt.Fprintf(out, "\n  %d of %d failed. uclat said:\n%s\n", t.failed, t.rows, indent(u.said()))
		return false
	}
	fmt.Fprintf(out, "\n  All %d went well. To look around yourself: uclat lab --shell\n\n", t.rows)
	return true
}

// report runs a role on the laptop and prints its results.
func (n *internet) report(ctx context.Context, role string, t *table) error {
	r, err := n.laptop.Role(ctx, role, nil)
	if err != nil {
		return err
	}
	for {
		var x result
		switch err := r.Next(&x); {
		case errors.Is(err, io.EOF):
			return r.Stop()
		case err != nil:
			return errors.Join(err, r.Stop())
		}
		t.row(x)
	}
}

// uclat is the daemon on the laptop.
type uclat struct {
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

// Write keeps what the daemon logs.
func (u *uclat) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.log.Write(p)
}

func (u *uclat) said() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.log.String()
}

func (n *internet) startUclat(ctx context.Context) (*uclat, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	u := &uclat{cmd: n.laptop.Command(ctx, exe, "run"), done: make(chan struct{})}
	u.cmd.Stdout, u.cmd.Stderr = u, u
	if err := u.cmd.Start(); err != nil {
		return nil, fmt.Errorf("lab: starting uclat on the laptop: %w", err)
	}
	go func() {
		defer close(u.done)
		_ = u.cmd.Wait() // how it ended is in ProcessState
	}()
	return u, nil
}

// end makes sure that the daemon is gone.
func (u *uclat) end() {
	_ = u.cmd.Process.Kill()
	<-u.done
}

// awaitIPv4 waits for the laptop's IPv4 default route.
func (n *internet) awaitIPv4(ctx context.Context, u *uclat) error {
	deadline := time.After(upTime)
	for {
		has, err := n.hasIPv4()
		if err != nil || has {
			return err
		}
		select {
		case <-u.done:
			return fmt.Errorf("uclat ended: %v", u.cmd.ProcessState)
		case <-deadline:
			return fmt.Errorf("no IPv4 default route within %v", upTime)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// hasIPv4 says whether the laptop has an IPv4 default route.
func (n *internet) hasIPv4() (bool, error) {
	routes, err := n.laptop.Netlink().RouteList(nil, netlink.FAMILY_V4)
	return slices.ContainsFunc(routes, func(r netlink.Route) bool {
		if r.Dst == nil {
			return true
		}
		ones, _ := r.Dst.Mask.Size()
		return ones == 0
	}), err
}

// stopUclat stops the daemon as a user would, and compares the laptop with what it was before.
func (n *internet) stopUclat(u *uclat, before string) result {
	began := time.Now()
	r := result{Name: "uclat stops"}
	_ = u.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-u.done:
	case <-time.After(10 * time.Second):
		r.Detail = "it does not end"
		return r
	}
	r.Elapsed = time.Since(began)
	after, err := n.laptop.Dump()
	switch {
	case err != nil:
		r.Detail = err.Error()
	case !u.cmd.ProcessState.Success():
		r.Detail = u.cmd.ProcessState.String()
	case after != before:
		r.Detail = "something is left on the laptop: " + firstDifference(before, after)
	default:
		r.OK, r.Detail = true, "addresses, routes, rules, sysctls and firewall are as before"
	}
	return r
}

// shell gives the user the laptop.
func (n *internet) shell(ctx context.Context, o Options) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Out, `  You are on the laptop, and uclat runs. Try:

    ping 198.51.100.10
    curl http://198.51.100.10/
    ip route; ip -6 route
    uclat explain 198.51.100.10

  Other hosts:  uclat lab enter router ip -6 route     (router, plat, hop, server)
  The lab ends with this shell.

`)
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	cmd := n.laptop.Command(ctx, shell)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Stdin, o.Out, os.Stderr
	cmd.Env = append(os.Environ(), n.Environ(), "PATH="+filepath.Dir(exe)+":"+os.Getenv("PATH"))
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("lab: shell: %w", err)
	}
	return nil
}

// firstDifference is the first line that only one of two dumps has.
func firstDifference(before, after string) string {
	a, b := bytes.Split([]byte(before), []byte("\n")), bytes.Split([]byte(after), []byte("\n"))
	for i := range max(len(a), len(b)) {
		var x, y []byte
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if !bytes.Equal(x, y) {
			return fmt.Sprintf("%q was %q", y, x)
		}
	}
	return "nothing"
}
