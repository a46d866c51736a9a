package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// raceEnv is the environment variable that, set to 1, has the program built with race detection.
const raceEnv = "UCLAT_E2E_RACE"

func withRace() bool { return os.Getenv(raceEnv) == "1" }

// scratch is a folder for the whole run, in which the program is built.
var scratch string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == netlab.Command {
		os.Exit(netlab.Main(os.Args[2:], netlab.Roles{
			"server": serverRole, "echo": echoRole, "tos server": tosServerRole, "tos client": tosClientRole,
			"stub": stubRole, "wireguard": wireguardRole,
		}))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "uclat-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	if err := os.Chmod(scratch, 0o755); err != nil { // one test runs the program as another user
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	moreAtATime()
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// moreAtATime has more tests run side by side than there are processors, unless -parallel says how many: they wait most of the time.
func moreAtATime() {
	flag.Parse()
	told := false
	flag.Visit(func(f *flag.Flag) { told = told || f.Name == "test.parallel" })
	if !told {
		_ = flag.Set("test.parallel", fmt.Sprint(3*runtime.GOMAXPROCS(0))) // it is a flag of numbers
	}
}

// build makes the program from the source that this test belongs to, once.
var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "uclat")
	args := []string{"build", "-o", path}
	if withRace() {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/uclat")...)
	cmd.Dir = peers.Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return path, nil
})

// uclat is the program under test.
func uclat(t *testing.T) peers.Program {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	// A data race ends the program at once, with code 66, where it was built to see them.
	return peers.Program{Path: path, Env: append(os.Environ(), "GORACE=halt_on_error=1 atexit_sleep_ms=0")}
}
