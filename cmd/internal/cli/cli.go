// Package cli is the command line: one file a subcommand, with its flags and its output.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Stdio is where a command reads and writes.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exit codes.
const (
	codeOK    = 0
	codeFault = 1 // something is not as it should be
	codeUsage = 2 // wrong use, or a configuration that cannot work
)

// fault is an error that ends a command with codeFault. All others end it with codeUsage.
type fault struct{ error }

func (f fault) Unwrap() error { return f.error }

// exit ends a command with a code, when all there is to say was said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// group makes cmd, which is there for its subcommands, show them, and refuse what is none.
func group(cmd *cobra.Command) {
	cmd.Args, cmd.DisableFlagsInUseLine = subcommand, true
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// subcommand takes no arguments: what stands there was meant as a subcommand.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := fmt.Sprintf("`%s --help` lists the commands", cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("unknown command %q: %s", args[0], hint)
}

// noArgs is for commands whose flags say all.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %q is one word too many: it takes flags only, and a value of a flag that is true or false is written --flag=false",
		cmd.Name(), args[0])
}

// Main runs the command that args name and returns the exit code. SIGINT and SIGTERM end ctx for it; a second one ends the process.
func Main(ctx context.Context, args []string, stdio Stdio) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := &cobra.Command{
		Use:   "uclat",
		Short: "IPv4 for hosts that have only IPv6 (464XLAT)",
		Long: "uclat is a CLAT, the customer-side translator of 464XLAT (RFC 6877): programs see\nan ordinary IPv4 interface, and what they " +
			"send leaves as IPv6 toward the\nprovider's NAT64.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: `%s --help` lists the flags", err, cmd.CommandPath())
	})
	root.SetArgs(args)
	root.SetIn(stdio.In)
	root.SetOut(stdio.Out)
	root.SetErr(stdio.Err)
	root.AddCommand(newRun(), newCheck(), newDiscover(), newExplain(), newLab(), newVersion())
	group(root)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			group(c)
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				found, rest, err := root.Find(args)
				return errors.Join(err, subcommand(found, rest))
			}
		}
	}

	err := root.ExecuteContext(ctx)
	var code exit
	switch {
	case err == nil:
		return codeOK
	case errors.As(err, &code):
		return int(code)
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(stdio.Err, "uclat:", strings.TrimRight(line, "\n"))
	}
	if errors.As(err, new(fault)) {
		return codeFault
	}
	return codeUsage
}
