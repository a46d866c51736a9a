package netlab

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
)

// Lab is a set of nodes that end together. Its methods may be called from several goroutines.
type Lab struct {
	mu    sync.Mutex
	nodes []*Node
}

// New is a lab without nodes.
func New() (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("netlab: not root: a lab makes network namespaces, run it with sudo")
	}
	return &Lab{}, nil
}

// Node starts a node: a host with nothing but a loopback interface. Its name, which must be new in this lab, is its host name too.
func (l *Lab) Node(name string, opt NodeOptions) (*Node, error) {
	if name == "" || strings.ContainsAny(name, "= \t\n") {
		return nil, fmt.Errorf("netlab: %q cannot be the name of a node", name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.ContainsFunc(l.nodes, func(n *Node) bool { return n.name == name }) {
		return nil, fmt.Errorf("netlab: there is a node %s already", name)
	}
	n, err := startNode(l, name, opt)
	if err != nil {
		return nil, fmt.Errorf("netlab: starting node %s: %w", name, err)
	}
	l.nodes = append(l.nodes, n)
	return n, nil
}

// Environ is an entry for the environment of a shell, by which `lab enter NAME` finds the nodes that there are now.
func (l *Lab) Environ() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]string, len(l.nodes))
	for i, n := range l.nodes {
		list[i] = fmt.Sprintf("%s=%d", n.name, n.PID())
	}
	return Env + "=" + strings.Join(list, " ")
}

// Close ends all nodes and everything that runs in them.
func (l *Lab) Close() error {
	l.mu.Lock()
	nodes := l.nodes
	l.nodes = nil
	l.mu.Unlock()
	// All are told first and waited for afterwards: they end side by side.
	for _, n := range nodes {
		n.hangUp()
	}
	var errs []error
	for _, n := range nodes {
		errs = append(errs, n.wait())
	}
	return errors.Join(errs...)
}

func (l *Lab) forget(n *Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes = slices.DeleteFunc(l.nodes, func(m *Node) bool { return m == n })
}
