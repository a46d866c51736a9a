package cli

import (
	"errors"
	"fmt"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/cmd/internal/daemon"

	"github.com/spf13/cobra"
)

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Validate a configuration, and say whether it would work here",
		Long: "check reads a configuration and says what is wrong with it (exit code 2), then\nlooks at this host and says whether the CLAT " +
			"would be on now, and if not, why not\n(exit code 1). It changes nothing.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("check: %q is one word too many: it takes one FILE", args[1])
			}
			return nil
		},
	}
	readConfig := configFlags(cmd)
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
		in, err := look(cmd.Context(), c)
		if err != nil {
			return err
		}
		plan := policy.Decide(in)
		for _, w := range plan.Warnings {
			fmt.Fprintln(out, "warning:", w)
		}
		switch {
		case plan.On:
			fmt.Fprintln(out, plan.Why)
			if len(plan.Warnings) > 0 {
				return exit(codeFault)
			}
			return nil
		case plan.Wrong:
			return errors.New(plan.Why)
		}
		return fault{errors.New(plan.Why)}
	}
	return cmd
}
