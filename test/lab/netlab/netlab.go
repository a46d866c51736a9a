// Package netlab makes hosts out of processes: a Node is a process in a network, mount and UTS namespace of its own that have no
// name and live as long as it does. It links nodes with veth pairs, configures them from outside, runs programs and Go functions
// inside them, and prints their state for comparison. It needs root and Linux 5.8, and nothing that is installed on the system.
//
// A program that makes nodes starts itself again for each of them. So its main function, or the TestMain of its tests, hands the
// arguments behind [Command] to [Main]:
//
//	if len(os.Args) > 1 && os.Args[1] == netlab.Command {
//		os.Exit(netlab.Main(os.Args[2:], roles))
//	}
//
// Nothing stays behind, however the program ends: the process of a node sees its standard input end, kills what runs in its
// namespace and exits, and with the last process the kernel removes the namespaces and the links in them.
package netlab

import (
	"context"
	"encoding/json"
)

// Command is the first argument with which a lab starts its own program again; what Main takes follows it.
const Command = "lab"

// Env is the environment variable by which `lab enter` knows the nodes: "laptop=4711 router=4712". Lab.Environ sets it.
const Env = "UCLAT_LAB"

// A Role is a Go function that runs as a process of its own inside a node. It gets the argument that was given to Node.Role as
// JSON, tells its parent things with report (one JSON value each; typically first that it is ready), and returns when ctx ends,
// which is when the parent stops it or has ended. An error that it returns is printed to the standard error.
type Role func(ctx context.Context, arg json.RawMessage, report func(any) error) error

// Roles are the functions that Node.Role can run, by name. The same must be given to Main.
type Roles map[string]Role
