package netlab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// RunningRole is a role that runs inside a node.
type RunningRole struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	reports *json.Decoder
	stop    func() error
}

// Role starts a role inside the node, with an argument that can be written as JSON. What the role prints to its standard error
// goes to ours. When ctx ends it is stopped; Stop must be called all the same.
func (n *Node) Role(ctx context.Context, role string, arg any) (*RunningRole, error) {
	text, err := json.Marshal(arg)
	if err != nil {
		return nil, fmt.Errorf("netlab: argument of role %s: %w", role, err)
	}
	cmd := n.Command(ctx, selfExe, Command, "role", role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Cancel = stdin.Close
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("netlab: starting role %s in %s: %w", role, n.name, err)
	}
	r := &RunningRole{cmd: cmd, stdin: stdin, reports: json.NewDecoder(stdout)}
	r.stop = sync.OnceValue(func() error {
		r.stdin.Close()
		late := time.AfterFunc(answerTime, func() { _ = r.cmd.Process.Kill() })
		defer late.Stop()
		if err := r.cmd.Wait(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("netlab: role %s in %s: %w", role, n.name, err)
		}
		return nil
	})
	if _, err := stdin.Write(append(text, '\n')); err != nil {
		_ = r.stop()
		return nil, fmt.Errorf("netlab: role %s in %s: %w", role, n.name, err)
	}
	return r, nil
}

// Next waits for the role's next report and stores it in v. The error is io.EOF when the role has ended.
func (r *RunningRole) Next(v any) error { return r.reports.Decode(v) }

// PID is the role's process.
func (r *RunningRole) PID() int { return r.cmd.Process.Pid }

// Stop ends the role and says how it ended. Once Stop was called, Next must not be.
func (r *RunningRole) Stop() error { return r.stop() }

// runRole is the process of a role.
func runRole(name string, roles Roles) error {
	role, ok := roles[name]
	if !ok {
		return fmt.Errorf("there is no role %q", name)
	}
	in := json.NewDecoder(os.Stdin)
	var arg json.RawMessage
	if err := in.Decode(&arg); err != nil {
		return fmt.Errorf("role %s: reading the argument: %w", name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	err := role(ctx, arg, func(v any) error {
		mu.Lock()
		defer mu.Unlock()
		return out.Encode(v)
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("role %s: %w", name, err)
	}
	return nil
}
