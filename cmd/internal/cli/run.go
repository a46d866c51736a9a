package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"uclat/clat/config"
	"uclat/cmd/internal/daemon"
	"uclat/cmd/internal/state"
	"uclat/discovery/ra"
	"uclat/platform"
	"uclat/platform/clock"
	"uclat/platform/hostnet"
	"uclat/platform/link"
	"uclat/platform/monitor"
	"uclat/platform/nexthop"
	"uclat/platform/tundev"

	"github.com/spf13/cobra"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the CLAT in the foreground",
		Long: "run keeps the CLAT until it gets SIGINT or SIGTERM, then puts the host back as it\nwas. What can mend itself (no PREF64 yet, no " +
			"uplink, no IPv6 address) is one line\nof the log, and it waits. SIGHUP has it read its configuration again, and apply\n" +
			"what changed; one that is wrong is logged, and changes nothing. The log goes to\nstandard error.",
		Args: noArgs,
	}
	readConfig, newLogs, stateDir := configFlags(cmd), logFlags(cmd), stateDirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		// First of all: a signal that nobody waits for ends the process.
		reload := make(chan os.Signal, 1)
		signal.Notify(reload, syscall.SIGHUP)
		defer signal.Stop(reload)

		read := keeping(cmd, readConfig)
		c, err := read()
		if err != nil {
			return err
		}
		logs, err := newLogs(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		log := logs.log
		if err := daemon.Check(c); err != nil { // before anything is touched, a folder included
			return err
		}
		var notes []string
		memory, err := state.Open(*stateDir)
		if err != nil {
			notes = strings.Split(err.Error(), "\n")
		}
		unlock, err := memory.Lock()
		if err != nil {
			return err
		}
		defer func() { _ = unlock() }() // which the end of the process does anyway
		host, err := hostnet.New(hostnet.Options{Log: log, Journal: memory.Journal()})
		if err != nil {
			return err
		}
		if err := host.Recover(cmd.Context()); err != nil {
			notes = append(notes, "taking away what an earlier run left: "+err.Error())
		}
		eyes, err := monitor.New(log)
		if err != nil {
			return err
		}
		err = daemon.Run(cmd.Context(), daemon.Options{
			Config: c, Log: log, Packets: logs.packets, Asked: logs.asked, Host: host, Eyes: eyes,
			Reload: reload, Reread: read,
			Resolvers: finder(log, logNamed(log)), Now: clock.Now, Slept: clock.Slept,
			Obstacles: obstacles,
			OpenTUN:   func(name string, mtu int) (daemon.TUN, error) { return tundev.Open(name, mtu) },
			OpenLink: func(on platform.Link) (daemon.Link, error) {
				return link.Open(link.Options{Link: on, Log: log})
			},
			OpenNeighbours:  func() (daemon.Neighbours, error) { return nexthop.Open() },
			WatchNeighbours: nexthop.Watch,
			Routers:         ra.New(ra.Options{Log: log}),
			Memory:          memory,
			Notes:           notes,
		})
		switch {
		case err == nil, errors.Is(err, daemon.ErrWrong):
			return err
		}
		return fault{err}
	}
	return cmd
}

// keeping has the default configuration file read as one that was named, once it was there: that it is gone later is a mistake, and not
// the wish for an empty one.
func keeping(cmd *cobra.Command, read func() (*config.Config, error)) func() (*config.Config, error) {
	file := cmd.Flags().Lookup("config")
	return func() (*config.Config, error) {
		if file.Changed {
			return read()
		}
		_, err := os.Stat(file.Value.String())
		file.Changed = !errors.Is(err, fs.ErrNotExist)
		c, err := read()
		if err != nil {
			file.Changed = false // none of it is in force
		}
		return c, err
	}
}

// obstacles are the firewalls in the way, each as one line with the commands that let our packets pass.
func obstacles(ctx context.Context, tun, uplink string) ([]string, error) {
	found, err := hostnet.ForwardObstacles(ctx, tun, uplink)
	var lines []string
	for _, o := range found {
		lines = append(lines, fmt.Sprintf("%s (%s) %s; to let IPv4 pass, run: %s", o.Firewall, o.Where, o.Why, strings.Join(o.Commands, " && ")))
	}
	return lines, err
}
