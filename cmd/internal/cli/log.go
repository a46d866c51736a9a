package cli

import (
	"fmt"
	"io"
	"log/slog"

	"uclat/cmd/internal/fewlines"

	"github.com/spf13/cobra"
)

// logFlags gives a command --log-level and --log-format. The function that it returns makes the logger when the flags are parsed.
func logFlags(cmd *cobra.Command) func(w io.Writer) (*slog.Logger, error) {
	level := cmd.Flags().String("log-level", "info", "least `level` that is logged: debug, info, warn or error")
	format := cmd.Flags().String("log-format", "text", "`format` of the log: text or json")
	return func(w io.Writer) (*slog.Logger, error) {
		var l slog.Level
		switch *level {
		case "debug", "info", "warn", "error":
			if err := l.UnmarshalText([]byte(*level)); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("--log-level: %q is not one of debug, info, warn, error", *level)
		}
		options := &slog.HandlerOptions{Level: l}
		switch *format {
		case "text":
			return slog.New(fewlines.New(slog.NewTextHandler(w, options))), nil
		case "json":
			return slog.New(fewlines.New(slog.NewJSONHandler(w, options))), nil
		}
		return nil, fmt.Errorf("--log-format: %q is not one of text, json", *format)
	}
}
