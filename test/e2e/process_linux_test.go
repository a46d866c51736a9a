package e2e

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// patience is how long anything may take that takes a moment.
const patience = 20 * time.Second

// result is what became of a program that ran to its end.
type result struct {
	stdout, stderr string
	code           int // -1: killed
}

// try runs a program in a node to its end.
func try(t *testing.T, n *netlab.Node, p peers.Program, args ...string) result {
	t.Helper()
	return tryInput(t, n, "", p, args...)
}

func tryInput(t *testing.T, n *netlab.Node, stdin string, p peers.Program, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := n.Command(ctx, p.Path, args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Env, strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s in %s: %v", filepath.Base(p.Path), n.Name(), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a program in a node, fails the test unless it ends with 0, and returns its output.
func must(t *testing.T, n *netlab.Node, p peers.Program, args ...string) string {
	t.Helper()
	r := try(t, n, p, args...)
	if r.code != 0 {
		t.Fatalf("%s %q in %s ended with %d: %s%s", filepath.Base(p.Path), args, n.Name(), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// process is a program that runs in a node beside the test.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	mu   sync.Mutex
	log  bytes.Buffer
	more chan struct{} // closed and replaced when log grew
}

// start starts a program in a node; it is ended with the test at the latest, and what it said is printed when the test has failed.
func start(t *testing.T, n *netlab.Node, p peers.Program, args ...string) *process {
	t.Helper()
	return startInput(t, n, "", p, args...)
}

func startInput(t *testing.T, n *netlab.Node, stdin string, p peers.Program, args ...string) *process {
	t.Helper()
	pr := &process{name: filepath.Base(p.Path) + " in " + n.Name(), done: make(chan struct{}), more: make(chan struct{})}
	pr.cmd = n.Command(context.Background(), p.Path, args...)
	pr.cmd.Env, pr.cmd.Stdin, pr.cmd.Stdout, pr.cmd.Stderr = p.Env, strings.NewReader(stdin), pr, pr
	if err := pr.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", pr.name, err)
	}
	go func() {
		_ = pr.cmd.Wait() // ProcessState tells
		close(pr.done)
	}()
	t.Cleanup(func() {
		_ = pr.cmd.Process.Kill() // it may have ended
		<-pr.done
		if t.Failed() {
			t.Logf("%s said:\n%s", pr.name, pr.said())
		}
	})
	return pr
}

// Write takes what the program prints.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.more)
	p.more = make(chan struct{})
	return p.log.Write(b)
}

// said is what the program printed until now.
func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// wait waits until the program has printed a text.
func (p *process) wait(t *testing.T, text string) {
	t.Helper()
	late := time.After(patience)
	for {
		p.mu.Lock()
		more, found := p.more, strings.Contains(p.log.String(), text)
		p.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-p.done:
			// The last of the output is there before done is closed.
			if !strings.Contains(p.said(), text) {
				t.Fatalf("%s ended with %d and never said %q", p.name, p.cmd.ProcessState.ExitCode(), text)
			}
			return
		case <-late:
			t.Fatalf("%s never said %q", p.name, text)
		}
	}
}

// stop sends a signal, waits for the end, and returns the exit code, -1 where a signal ended it.
func (p *process) stop(t *testing.T, signal syscall.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("%s does not end after %s", p.name, signal)
	}
	return p.cmd.ProcessState.ExitCode()
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
