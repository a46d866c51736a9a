package cli

import (
	"errors"

	"uclat/test/lab"
	"uclat/test/lab/netlab"

	"github.com/spf13/cobra"
)

func newLab() *cobra.Command {
	var shell bool
	cmd := &cobra.Command{
		Use:   netlab.Command,
		Short: "Try uclat in an IPv6-only internet on this machine",
		Long: "lab builds an IPv6-only internet of five hosts in network namespaces, runs uclat\non one of them, and tries everything. It needs " +
			"root and /dev/net/tun, touches nothing\nof this machine, and leaves nothing behind. It ends with 0 only if all went well.",
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ok, err := lab.Run(cmd.Context(), lab.Options{Out: cmd.OutOrStdout(), Stdin: cmd.InOrStdin(), Shell: shell})
			switch {
			case errors.As(err, new(lab.Missing)):
				return err
			case err != nil:
				return fault{err}
			case !ok:
				return exit(codeFault)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&shell, "shell", false, "leave me in a shell on the laptop")
	cmd.AddCommand(
		netlabCommand("enter", "enter HOST COMMAND...", "Run a command on another host of the lab, from its shell", false),
		netlabCommand("node", "node NAME", "Be a host of the lab", true),
		netlabCommand("role", "role NAME", "Do what a host of the lab does", true),
	)
	return cmd
}

// netlabCommand is one of the ways in which a lab starts this program again. What follows belongs to another program.
func netlabCommand(name, use, short string, hidden bool) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Hidden: hidden, DisableFlagParsing: true, DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if code := netlab.Main(append([]string{name}, args...), lab.Roles()); code != codeOK {
				return exit(code)
			}
			return nil
		},
	}
}
