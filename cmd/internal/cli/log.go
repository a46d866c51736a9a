package cli

import (
	"fmt"
	"io"
	"log/slog"

	"uclat/cmd/internal/fewlines"

	"github.com/spf13/cobra"
)

// logs are what a command writes its log with.
type logs struct {
	log     *slog.Logger
	packets *slog.Logger // about single packets: a part of the log, so that whatever is sent to us, the rest can still be said
	asked   *slog.Logger // about what the administrator asked for, which is all written: there is no more of it than there are requests
}

// packetLines are how many lines of a minute may be about single packets.
const packetLines = 3

// logFlags gives a command --log-level and --log-format. The function that it returns makes the loggers when the flags are parsed.
func logFlags(cmd *cobra.Command) func(w io.Writer) (logs, error) {
	level := cmd.Flags().String("log-level", "info", "least `level` that is logged: debug, info, warn or error")
	format := cmd.Flags().String("log-format", "text", "`format` of the log: text or json")
	return func(w io.Writer) (logs, error) {
		var l slog.Level
		switch *level {
		case "debug", "info", "warn", "error":
			if err := l.UnmarshalText([]byte(*level)); err != nil {
				return logs{}, err
			}
		default:
			return logs{}, fmt.Errorf("--log-level: %q is not one of debug, info, warn, error", *level)
		}
		options := &slog.HandlerOptions{Level: l}
		var h slog.Handler
		switch *format {
		case "text":
			h = slog.NewTextHandler(w, options)
		case "json":
			h = slog.NewJSONHandler(w, options)
		default:
			return logs{}, fmt.Errorf("--log-format: %q is not one of text, json", *format)
		}
		few := fewlines.New(h)
		return logs{log: slog.New(few), packets: slog.New(few.Part(packetLines)), asked: slog.New(h)}, nil
	}
}
