// Package arch holds the rules of the house: which package may import which.
package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "uclat"

// may is what each package may import of this module. A package that is not in it fails, and so does a row that nobody needs.
// "..." stands for everything.
var may = map[string][]string{
	"clat":          {},
	"clat/checksum": {},
	"clat/frame":    {"clat"},
	"clat/reasm":    {"clat", "clat/frame"},
	"clat/pref64":   {"clat"},
	"clat/eam":      {"clat", "clat/checksum", "clat/pref64"},
	"clat/pmtu":     {"clat"},
	"clat/siit":     {"clat", "clat/checksum", "clat/eam", "clat/frame"},
	"clat/inbound":  {"clat"},
	"clat/datapath": {"clat", "clat/checksum", "clat/frame", "clat/inbound", "clat/pmtu", "clat/reasm", "clat/siit"},
	"clat/node":     {"clat/checksum"},
	"clat/segment":  {"clat/checksum", "clat/frame"},
	"clat/config":   {"clat", "clat/pref64"},
	"clat/policy":   {"clat", "clat/checksum", "clat/config", "clat/pref64", "discovery", "platform"},

	"discovery":     {"clat/pref64"},
	"discovery/dns": {"discovery", "clat/pref64"},
	"discovery/ra":  {"clat/pref64", "discovery", "platform"},

	"platform":                 {},
	"platform/clock":           {},
	"platform/durable":         {},
	"platform/hostnet":         {"platform", "clat", "clat/frame", "platform/durable", "platform/internal/..."},
	"platform/link":            {"platform", "clat", "clat/checksum", "clat/frame", "clat/segment", "platform/internal/..."},
	"platform/monitor":         {"platform", "clat", "clat/frame", "platform/internal/..."},
	"platform/nexthop":         {"platform", "clat", "clat/frame", "platform/internal/..."},
	"platform/resolver":        {"platform", "platform/internal/..."},
	"platform/tundev":          {"platform", "clat", "clat/frame", "clat/segment", "platform/internal/..."},
	"platform/internal/fault":  {},
	"platform/internal/rtnl":   {},
	"platform/internal/vnet":   {"clat/frame"},
	"platform/internal/nstest": {"platform"},

	"cmd/uclat":                {"cmd/internal/cli"},
	"cmd/internal/cli":         {"..."},
	"cmd/internal/daemon":      {"..."},
	"cmd/internal/explain":     {"..."},
	"cmd/internal/state":       {"..."},
	"cmd/internal/survey":      {"..."},
	"cmd/internal/translation": {"..."},
	"cmd/internal/uplink":      {"..."},
	"cmd/internal/fewlines":    {},

	"test/arch":                     {},
	"test/bench":                    {"..."},
	"test/conformance":              {},
	"test/conformance/count":        {"test/conformance/requirements", "test/gotest"},
	"test/conformance/mutants":      {"test/conformance/requirements", "test/gotest"},
	"test/conformance/requirements": {"test/gotest"},
	"test/differential":             {},
	"test/e2e":                      {"..."},
	"test/gotest":                   {},
	"test/lab":                      {"..."},
	"test/lab/netlab":               {"platform"},
	"test/peers":                    {},
	"test/report":                   {"test/gotest"},
}

// only is where a module, or a package of one, may be imported. Tests of a package may import what the package may not, except for
// what reaches into the operating system.
var only = map[string][]string{
	"github.com/gaissmai/bart":                   {"clat/eam"},
	"github.com/pelletier/go-toml":               {"clat/config"},
	"github.com/spf13/cobra":                     {"cmd/internal/cli"},
	"github.com/spf13/pflag":                     {"cmd/internal/cli"},
	"golang.org/x/time":                          {"clat/datapath", "cmd/internal/daemon", "discovery/ra"},
	"golang.org/x/net/dns/dnsmessage":            {"discovery/dns", "test/..."},
	"golang.org/x/net/icmp":                      {"test/..."},
	"golang.zx2c4.com/wireguard":                 {"platform/tundev", "test/e2e"},
	"github.com/godbus/dbus":                     {"platform/resolver", "test/..."},
	"github.com/mdlayher/ndp":                    {"clat/node", "discovery/ra", "platform/link", "test/..."},
	"github.com/mdlayher/packet":                 {"platform/link", "test/..."},
	"github.com/mdlayher/netlink":                {"platform/...", "test/..."},
	"github.com/vishvananda/netlink":             {"platform/...", "test/..."},
	"github.com/vishvananda/netns":               {"platform/...", "test/..."},
	"github.com/google/nftables":                 {"platform/...", "test/..."},
	"golang.org/x/sys":                           {"platform/...", "test/..."},
	"os/exec":                                    {"test/...", "platform/internal/nstest"},
	"unsafe":                                     {},
	"C":                                          {},
	"github.com/kardianos/service":               {},
	"gvisor.dev/gvisor":                          {},
	"golang.zx2c4.com/wireguard/device":          {"test/e2e"},
	"github.com/rogpeppe/go-internal/testscript": {"cmd/internal/cli"},
	"github.com/gopacket/gopacket":               {"test/..."},
}

type pkg struct {
	ImportPath, Doc                    string
	GoFiles                            []string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

func TestImports(t *testing.T) {
	used := map[string]bool{}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, p := range list(t, goos, "./...") {
			name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
			allowed, known := may[name]
			if !known {
				t.Errorf("%s is not in the table of test/arch: say what it may import", name)
				continue
			}
			used[name] = true
			for _, i := range p.Imports {
				check(t, goos, name, allowed, i)
			}
			for _, i := range slices.Concat(p.TestImports, p.XTestImports) {
				checkOnly(t, goos, name+" (test)", name, i)
			}
		}
	}
	for name := range may {
		if !used[name] {
			t.Errorf("%s is in the table of test/arch, but there is no such package", name)
		}
	}
}

func check(t *testing.T, goos, name string, allowed []string, i string) {
	t.Helper()
	if own, ok := strings.CutPrefix(i, module+"/"); ok {
		if !matches(allowed, own) {
			t.Errorf("%s: %s may not import %s", goos, name, own)
		}
		return
	}
	checkOnly(t, goos, name, name, i)
}

// checkOnly asks the longest row of only that i falls under. The standard library's tests need some of it everywhere.
func checkOnly(t *testing.T, goos, who, name, i string) {
	t.Helper()
	best := ""
	for path := range only {
		if (i == path || strings.HasPrefix(i, path+"/")) && len(path) > len(best) {
			best = path
		}
	}
	if best == "" || matches(only[best], name) || who != name && !reachesOut(best) {
		return
	}
	t.Errorf("%s: %s may not import %s", goos, who, i)
}

// reachesOut says whether an import touches the host, which not even a test may do elsewhere than the table says.
func reachesOut(path string) bool {
	return path == "C" || strings.Contains(path, "netlink") || strings.Contains(path, "nftables") || strings.Contains(path, "wireguard")
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		root, all := strings.CutSuffix(p, "...")
		return p == name || all && strings.HasPrefix(name, root)
	})
}

// The shipped binary must not carry what only tests need.
func TestBinaryLinksNoTests(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, p := range list(t, goos, "./cmd/uclat") {
			for _, d := range p.Deps {
				own, ok := strings.CutPrefix(d, module+"/test/")
				if ok && own != "lab" && !strings.HasPrefix(own, "lab/") {
					t.Errorf("%s: the binary links test/%s", goos, own)
				}
				if d == "testing" {
					t.Errorf("%s: the binary links package testing", goos)
				}
			}
		}
	}
}

// Platform differences live in files by GOOS, behind interfaces: the translator knows no system.
func TestTranslatorKnowsNoSystem(t *testing.T) {
	root := filepath.Join("..", "..", "clat")
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "runtime.GOOS") || strings.Contains(string(b), "//go:build") && !strings.Contains(string(b), "race") {
			t.Errorf("%s asks which system it runs on", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every package says what it is.
func TestPackageComments(t *testing.T) {
	for _, p := range list(t, "linux", "./...") {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// list is what the go command says of packages, as they are built for goos.
func list(t *testing.T, goos string, patterns ...string) (pkgs []pkg) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Doc,GoFiles,Imports,TestImports,XTestImports,Deps"}, patterns...)...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}
