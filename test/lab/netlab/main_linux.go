package netlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Exit codes of `enter` are those of a shell: the program could not be found, or not be run.
const (
	codeUsage    = 2
	codeNotRun   = 126
	codeNotFound = 127
)

// Main is what a program does that was started with Command as its first argument; args are the others:
//
//	node NAME                        is a node (started by Lab.Node)
//	role NAME                        runs one of roles (started by Node.Role)
//	enter NODE|PID [--] PROGRAM ...  becomes PROGRAM inside a node; NODE is looked up in the environment variable Env
//
// It returns the exit code.
func Main(args []string, roles Roles) int {
	err := errors.New("usage: " + Command + " enter NODE|PID [--] PROGRAM [ARGUMENT...]")
	code := codeUsage
	switch {
	case len(args) == 2 && args[0] == "node":
		code, err = 1, runNode(args[1])
	case len(args) == 2 && args[0] == "role":
		code, err = 1, runRole(args[1], roles)
	case len(args) >= 3 && args[0] == "enter":
		node, program := args[1], args[2:]
		if program[0] == "--" {
			program = program[1:]
		}
		if len(program) > 0 {
			code, err = enter(node, program)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "netlab:", err)
		return code
	}
	return 0
}

// runNode is the process of a node: it prepares its namespaces, answers requests, and when its standard input ends it ends
// everything in the namespace and then itself.
func runNode(name string) error {
	go watchParent(os.Getppid())
	out := json.NewEncoder(os.Stdout)
	if err := prepare(name); err != nil {
		return out.Encode(answer{Error: err.Error()})
	}
	if err := out.Encode(answer{Value: "ready"}); err != nil {
		return err
	}
	for in := json.NewDecoder(os.Stdin); ; {
		var r request
		if err := in.Decode(&r); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, sweep())
		}
		var a answer
		var err error
		switch r.Op {
		case "get":
			var b []byte
			b, err = os.ReadFile(sysctlPath(r.Key))
			a.Value = strings.TrimSpace(string(b))
		case "set":
			err = os.WriteFile(sysctlPath(r.Key), []byte(r.Value), 0o644)
		case "dump":
			a.Value, err = dump()
		case "hide":
			err = hide(r.Key)
		default:
			err = fmt.Errorf("unknown request %q", r.Op)
		}
		if err != nil {
			a = answer{Error: err.Error()}
		}
		if err := out.Encode(a); err != nil {
			return errors.Join(err, sweep())
		}
	}
}

// watchParent ends the node when its parent has ended. The signal comes also when only a thread of the parent did.
func watchParent(parent int) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, orphaned)
	for range signals {
		if os.Getppid() != parent {
			_ = sweep() // nobody is left who could be told
			os.Exit(1)
		}
	}
}

func sysctlPath(key string) string {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	return filepath.Join("/proc/sys", filepath.Clean("/"+key))
}

// sweep kills all other processes of our network namespace, also those that left the group, the session or the parent they were
// started in. It is done when none is left.
func sweep() error {
	const rounds = 100 // a process that is being killed may just be making another one
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	for range rounds {
		pids, err := processesIn(own)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			kill(pid, own)
		}
	}
	return errors.New("processes in the node do not end")
}

// processesIn lists the processes in a network namespace, but ourselves and our parent, one of whose threads may be visiting.
func processesIn(ns string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || pid == os.Getppid() {
			continue
		}
		// A process that has ended or is a zombie has no namespace any more.
		if link, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns/net")); err == nil && link == ns {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// kill kills a process of a namespace and waits for its end. The number may have gone to another process since it was read, so
// it is looked at again when a descriptor holds it.
func kill(pid int, ns string) {
	const wait = 200 // milliseconds
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended
	}
	defer unix.Close(fd)
	if link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil || link != ns {
		return
	}
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, wait)
}

// enter becomes a program inside a node.
func enter(node string, program []string) (int, error) {
	pid, err := findNode(node, os.Getenv(Env))
	if err != nil {
		return codeUsage, err
	}
	dir, _ := os.Getwd() // a directory that is gone means that of the node's root
	// Namespaces belong to the thread, and only a thread that shares its root and working directory with no other may change the
	// mount namespace. Exec ends the others.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return codeNotRun, fmt.Errorf("enter: unshare: %w", err)
	}
	proc, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return codeUsage, fmt.Errorf("enter: node %s, process %d: %w", node, pid, err)
	}
	if err := unix.Setns(proc, unix.CLONE_NEWNET|unix.CLONE_NEWNS|unix.CLONE_NEWUTS); err != nil {
		return codeNotRun, fmt.Errorf("enter: node %s, process %d: %w (are you root?)", node, pid, err)
	}
	unix.Close(proc)
	if dir != "" {
		_ = unix.Chdir(dir)
	}
	// The signal that the parent asked for belongs to the thread as well.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return codeNotRun, fmt.Errorf("enter: prctl: %w", err)
	}
	path, err := exec.LookPath(program[0])
	if err != nil {
		return codeNotFound, fmt.Errorf("enter: %w", err)
	}
	if program[0] == selfExe {
		program = append([]string{os.Args[0]}, program[1:]...)
	}
	err = unix.Exec(path, program, os.Environ())
	return codeNotRun, fmt.Errorf("enter: %s: %w", path, err)
}

// findNode is the process of a node that is given by number or by a name of the list in Env.
func findNode(node, list string) (int, error) {
	if pid, err := strconv.Atoi(node); err == nil && pid > 0 {
		return pid, nil
	}
	var names []string
	for entry := range strings.FieldsSeq(list) {
		name, number, _ := strings.Cut(entry, "=")
		names = append(names, name)
		if pid, err := strconv.Atoi(number); err == nil && name == node {
			return pid, nil
		}
	}
	if names == nil {
		return 0, fmt.Errorf("enter: no node %q: this is not a shell of a lab (%s is not set)", node, Env)
	}
	return 0, fmt.Errorf("enter: no node %q; there are %s", node, strings.Join(names, ", "))
}
