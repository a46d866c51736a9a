package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// However much there is to say about packets, there is room for the rest; and however much is said of its own accord, all that was asked for
// is said.
func TestPacketsLeaveRoomInTheLog(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		cmd := &cobra.Command{}
		newLogs := logFlags(cmd)
		if err := cmd.Flags().Set("log-format", format); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		logs, err := newLogs(&out)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			logs.packets.Warn(fmt.Sprint("packet ", i))
		}
		for i := range 100 {
			logs.log.Info(fmt.Sprint("host ", i))
		}
		for i := range 100 {
			logs.asked.Info(fmt.Sprint("answer ", i))
		}
		if n := strings.Count(out.String(), "packet "); n != packetLines {
			t.Errorf("%s: %d lines about packets, want %d", format, n, packetLines)
		}
		if n := strings.Count(out.String(), "host "); n != 10-packetLines {
			t.Errorf("%s: %d other lines, want %d", format, n, 10-packetLines)
		}
		if n := strings.Count(out.String(), "answer "); n != 100 {
			t.Errorf("%s: %d answers, want 100", format, n)
		}
	}
}
