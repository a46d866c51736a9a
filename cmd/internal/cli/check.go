package cli

import (
	"errors"
	"fmt"
	"slices"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/cmd/internal/daemon"
	"uclat/platform"

	"github.com/spf13/cobra"
)

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Validate a configuration, and say whether it would work here",
		Long: "check reads a configuration and says what is wrong with it (exit code 2), then\nlooks at this host and says whether the CLAT " +
			"would be on now, and if not, why not\n(exit code 1; mode off is meant so, and 0). It sends questions to resolvers and\nrouters, and changes nothing.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("check: %q is one word too many: it takes one FILE", args[1])
			}
			return nil
		},
	}
	readConfig, stateDir := configFlags(cmd), stateDirFlag(cmd)
	offline := cmd.Flags().Bool("offline", false, "only validate: do not look at this host")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			if cmd.Flags().Changed("config") {
				return errors.New("check: give the file once, as FILE or as --config")
			}
			if err := cmd.Flags().Set("config", args[0]); err != nil {
				return err
			}
		}
		c, err := readConfig()
		if err != nil {
			return err
		}
		if err := daemon.Check(c); err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		fmt.Fprintln(out, "the configuration is valid")
		if *offline {
			return nil
		}
		if c.Mode == config.ModeOff {
			fmt.Fprintln(out, policy.Decide(policy.Input{Config: c}).Why)
			return nil
		}
		v, err := look(cmd.Context(), c, *stateDir)
		if err != nil {
			return err
		}
		plan := v.Plan
		if plan.Wrong {
			return errors.New(plan.Why)
		}
		note, err := nameTaken(v.Input, plan)
		if err != nil {
			return err
		}
		if note != "" {
			fmt.Fprintln(out, "note:", note)
		}
		for _, n := range slices.Concat(plan.Notes, notes(v), unheard(v)) {
			fmt.Fprintln(out, "note:", n)
		}
		for _, w := range plan.Warnings {
			fmt.Fprintln(out, "warning:", w)
		}
		if !plan.On {
			return fault{errors.New(plan.Why)}
		}
		fmt.Fprintln(out, plan.Why)
		if len(plan.Warnings) > 0 {
			return exit(codeFault)
		}
		return nil
	}
	return cmd
}

// nameTaken says whether `run` would find the name of its device taken, which ends it. The device of a uclat that runs already is up and
// has no link-layer address: what differs from that is somebody else's, and an error. What does not is ours where it has our addresses
// or is the way to them; else it may be that of a uclat with another configuration, or anybody's, and the note says so.
func nameTaken(in policy.Input, plan policy.Plan) (note string, err error) {
	name := in.Config.Interface.Name
	l, there := in.Host.LinkByName(name)
	switch {
	case !there:
		return "", nil
	case !l.Up || l.L2:
		return "", fmt.Errorf("off: interface.name = %s is taken: an interface with this name exists already, and is not that of a uclat that "+
			"runs: choose another name, or remove it if it is left from an earlier time", name)
	}
	addressed := slices.ContainsFunc(in.Host.Addrs, func(a platform.Address) bool {
		return a.Link == l.Index && slices.Contains(plan.Host.Addrs, a.Prefix)
	})
	routed := slices.ContainsFunc(in.Host.Routes, func(r platform.Route) bool {
		return r.Link == l.Index && r.Dst.IsValid() && r.Dst == plan.Ours()
	})
	if addressed || routed {
		return "", nil
	}
	return fmt.Sprintf("an interface %s exists already: if it is not that of a uclat that runs, `uclat run` will refuse the name "+
		"(interface.name)", name), nil
}
