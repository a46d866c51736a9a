package netlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// answerTime is how long the process of a node may take for one answer, and to end. It does so within milliseconds.
const answerTime = 20 * time.Second

// NodeOptions are what a node can have otherwise.
type NodeOptions struct {
	// NoDAD switches duplicate address detection off, so that the addresses of infrastructure serve at once.
	NoDAD bool
}

// Node is a host: a process that keeps a network, a mount and a UTS namespace. /etc, /run and /var/lib are its own as far as
// this project's files, the resolver's and the sockets of daemons go; all else of the file system is the real host's.
type Node struct {
	name   string
	lab    *Lab
	cmd    *exec.Cmd
	handle *netlink.Handle

	mu      sync.Mutex // one request at a time
	in, out *os.File   // the process's standard input and output
	answers *json.Decoder
	ended   bool
	endErr  error
}

// A request is what a node's process is asked, an answer what it says. The first answer, to no request, is that it is ready.
type (
	request struct {
		Op    string `json:"op"` // "get", "set", "dump", "hide"
		Key   string `json:"key,omitempty"`
		Value string `json:"value,omitempty"`
	}
	answer struct {
		Value string `json:"value,omitempty"`
		Error string `json:"error,omitempty"`
	}
)

// orphaned is the signal that the kernel sends to a node when the thread that started it ends.
const orphaned = syscall.SIGTERM

// selfExe is this program, wherever it lies and whatever became of its file.
const selfExe = "/proc/self/exe"

// self is a command that runs this program again with the arguments that Main gets.
func self(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, selfExe)
	cmd.Args = append([]string{os.Args[0], Command}, args...)
	return cmd
}

func startNode(l *Lab, name string, opt NodeOptions) (*Node, error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		childIn.Close()
		in.Close()
		return nil, err
	}
	cmd := self(context.Background(), "node", name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = childIn, childOut, os.Stderr
	// A process group of its own: Ctrl-C of the user is for us, and we end the node in order. That we are gone it learns twice, from the
	// end of its standard input and by the signal, and either way it kills what runs in it before it ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: true, Pdeathsig: orphaned, Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS,
	}
	err = cmd.Start()
	childIn.Close()
	childOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("making namespaces is not permitted here (a container without CAP_SYS_ADMIN?): %w", err)
		}
		return nil, err
	}
	n := &Node{name: name, lab: l, cmd: cmd, in: in, out: out, answers: json.NewDecoder(out)}
	if err := n.open(opt); err != nil {
		n.hangUp()
		return nil, errors.Join(err, n.wait())
	}
	return n, nil
}

// open waits until the process is ready, and configures it.
func (n *Node) open(opt NodeOptions) error {
	if _, err := n.answer(); err != nil {
		return err
	}
	ns, err := netns.GetFromPid(n.PID())
	if err != nil {
		return err
	}
	defer ns.Close()
	if n.handle, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE); err != nil {
		return err
	}
	if opt.NoDAD {
		for _, conf := range []string{"all", "default"} {
			if err := n.SetSysctl("net/ipv6/conf/"+conf+"/accept_dad", "0"); err != nil {
				return err
			}
		}
	}
	return nil
}

// Name is the node's name.
func (n *Node) Name() string { return n.name }

// PID is the process whose namespaces the node is.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// Netlink is a handle of the route family inside the node, for what the methods of Node do not offer.
func (n *Node) Netlink() *netlink.Handle { return n.handle }

// Close ends the node and everything that runs in it.
func (n *Node) Close() error {
	n.lab.forget(n)
	n.hangUp()
	return n.wait()
}

func (n *Node) hangUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.in.Close() // twice does no harm
}

func (n *Node) wait() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return n.endErr
	}
	n.ended = true
	late := time.AfterFunc(answerTime, func() { _ = n.cmd.Process.Kill() })
	defer late.Stop()
	if err := n.cmd.Wait(); err != nil {
		n.endErr = fmt.Errorf("netlab: node %s: %w", n.name, err)
	}
	n.out.Close()
	if n.handle != nil {
		n.handle.Close()
	}
	return n.endErr
}

// Command prepares a program that will run inside the node, with the node's file system as far as it has its own. A path with a
// slash or a name to be looked up in PATH, which counts in the environment and the working directory that the command is given.
// The program is killed with this one: by a parent-death signal, which comes when the starting thread ends, so start it from a
// goroutine that is not locked to a thread; and with the node.
func (n *Node) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := self(ctx, append([]string{"enter", strconv.Itoa(n.PID()), "--", name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second // a grandchild may hold the output open
	return cmd
}

// WriteFile replaces a file below /etc or /run, which are the node's own, or in a folder in them that did not exist on the host.
func (n *Node) WriteFile(path string, data []byte) error {
	path = filepath.Clean(path)
	if !strings.HasPrefix(path, "/etc/") && !strings.HasPrefix(path, "/run/") {
		return fmt.Errorf("netlab: %s is not a node's own", path)
	}
	// A new file is moved over the old one: the old may be a link to, or a mount of, the host's.
	root := fmt.Sprintf("/proc/%d/root", n.PID())
	if err := os.MkdirAll(root+filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := root + path + ".new"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, root+path)
}

// SetSysctl writes a kernel parameter in the node: "net.ipv4.ip_forward", or with slashes where a name has dots in it.
func (n *Node) SetSysctl(key, value string) error {
	_, err := n.ask(request{Op: "set", Key: key, Value: value})
	return err
}

// Sysctl reads a kernel parameter in the node.
func (n *Node) Sysctl(key string) (string, error) {
	return n.ask(request{Op: "get", Key: key})
}

// Hide makes a file disappear from the node's file system, also where it cannot be removed: a device, or a kernel parameter. Its folder
// keeps its other files and folders as they are now, but not its devices and sockets.
func (n *Node) Hide(path string) error {
	_, err := n.ask(request{Op: "hide", Key: path})
	return err
}

// Dump is the network state of the node as text, one thing a line, sorted, without what changes by itself (lifetimes, counters,
// learned neighbours): parameters, links, addresses, routes and rules of all tables, neighbours set by hand, and the nftables ruleset.
func (n *Node) Dump() (string, error) {
	return n.ask(request{Op: "dump"})
}

func (n *Node) ask(r request) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return "", fmt.Errorf("netlab: node %s has ended", n.name)
	}
	if err := json.NewEncoder(n.in).Encode(r); err != nil {
		return "", fmt.Errorf("netlab: node %s: %w", n.name, err)
	}
	return n.answer()
}

func (n *Node) answer() (string, error) {
	if err := n.out.SetReadDeadline(time.Now().Add(answerTime)); err != nil {
		return "", err
	}
	var a answer
	switch err := n.answers.Decode(&a); {
	case errors.Is(err, io.EOF):
		return "", fmt.Errorf("netlab: node %s ended by itself", n.name)
	case err != nil:
		return "", fmt.Errorf("netlab: node %s: %w", n.name, err)
	case a.Error != "":
		return "", fmt.Errorf("netlab: node %s: %s", n.name, a.Error)
	}
	return a.Value, nil
}
