package netlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// helper is the argument that makes this test binary the program of TestParentKilled.
const helper = "make-nodes-and-wait"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		os.Exit(Main(os.Args[2:], testRoles()))
	}
	if len(os.Args) > 1 && os.Args[1] == helper {
		makeNodesAndWait()
	}
	// The processes of a test binary with race detection would each wait for a second at their end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testRoles() Roles {
	return Roles{
		// echo answers UDP packets at the address that is its argument.
		"echo": func(ctx context.Context, arg json.RawMessage, report func(any) error) error {
			var addr string
			if err := json.Unmarshal(arg, &addr); err != nil {
				return err
			}
			conn, err := net.ListenPacket("udp", addr)
			if err != nil {
				return err
			}
			context.AfterFunc(ctx, func() { conn.Close() })
			if err := report("ready"); err != nil {
				return err
			}
			for buf := make([]byte, 2000); ; {
				n, from, err := conn.ReadFrom(buf)
				if err != nil {
					return err
				}
				if _, err := conn.WriteTo(buf[:n], from); err != nil {
					return err
				}
			}
		},
		// ask sends a UDP packet to its argument and reports the answer.
		"ask": func(_ context.Context, arg json.RawMessage, report func(any) error) error {
			var addr string
			if err := json.Unmarshal(arg, &addr); err != nil {
				return err
			}
			conn, err := net.Dial("udp", addr)
			if err != nil {
				return err
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
			if _, err := conn.Write([]byte("hello")); err != nil {
				return err
			}
			buf := make([]byte, 2000)
			n, err := conn.Read(buf)
			if err != nil {
				return err
			}
			return report(string(buf[:n]))
		},
		// orphan leaves a process behind that has a session of its own and no parent-death signal, and reports its number.
		"orphan": func(_ context.Context, _ json.RawMessage, report func(any) error) error {
			cmd := exec.Command("sleep", "1000")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				return err
			}
			return report(cmd.Process.Pid)
		},
		"fail": func(context.Context, json.RawMessage, func(any) error) error { return errors.New("as it should") },
	}
}

func orphan(ctx context.Context, n *Node) (pid int) {
	role, err := n.Role(ctx, "orphan", nil)
	if err == nil {
		err = errors.Join(role.Next(&pid), role.Stop())
	}
	if err != nil {
		return 0
	}
	return pid
}

// alive says whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// makeNodesAndWait prints the numbers of all processes that it makes, and then waits to be killed.
func makeNodesAndWait() {
	lab, err := New()
	if err != nil {
		panic(err)
	}
	var pids []int
	for _, name := range []string{"alpha", "beta"} {
		n, err := lab.Node(name, NodeOptions{})
		if err != nil {
			panic(err)
		}
		role, err := n.Role(context.Background(), "echo", "127.0.0.1:7")
		if err != nil {
			panic(err)
		}
		cmd := n.Command(context.Background(), "sleep", "1000")
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		pids = append(pids, n.PID(), role.PID(), cmd.Process.Pid, orphan(context.Background(), n))
	}
	_ = json.NewEncoder(os.Stdout).Encode(pids)
	select {}
}
