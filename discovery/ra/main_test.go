package ra

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"uclat/test/lab/netlab"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == netlab.Command {
		os.Exit(netlab.Main(os.Args[2:], roles))
	}
	// The processes of a test binary with race detection would each wait for a second at their end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	goleak.VerifyTestMain(m)
}
