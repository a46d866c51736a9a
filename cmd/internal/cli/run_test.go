package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"uclat/clat/config"

	"github.com/spf13/cobra"
)

// The default configuration file may be missing, but not disappear: nobody means that all mappings be dropped.
func TestRereading(t *testing.T) {
	const (
		gone   = ""
		good   = "mode = 'on'\n"
		broken = "mode = 'maybe'\n"
	)
	for _, tt := range []struct {
		name  string
		named bool     // by --config
		files []string // what is there at each reading
		want  []string // mode then, or missing, or wrong
	}{
		{name: "it was never there", files: []string{gone, gone}, want: []string{"auto", "auto"}},
		{name: "it disappears", files: []string{good, gone, gone, good}, want: []string{"on", "missing", "missing", "on"}},
		{name: "it appears and disappears", files: []string{gone, good, gone}, want: []string{"auto", "on", "missing"}},
		{name: "one that was never in force disappears", files: []string{gone, broken, gone}, want: []string{"auto", "wrong", "auto"}},
		{name: "it disappears while it is broken", files: []string{good, broken, gone}, want: []string{"on", "wrong", "missing"}},
		{name: "a file that was named", named: true, files: []string{gone, good, gone}, want: []string{"missing", "on", "missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "uclat.toml")
			cmd := &cobra.Command{}
			read := keeping(cmd, configFlags(cmd))
			if tt.named {
				if err := cmd.Flags().Set("config", file); err != nil {
					t.Fatal(err)
				}
			} else if err := cmd.Flags().Lookup("config").Value.Set(file); err != nil { // the default, whatever it is here
				t.Fatal(err)
			}
			for i, text := range tt.files {
				if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				if text != gone {
					if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				c, err := read()
				if got := outcome(c, err); got != tt.want[i] {
					t.Errorf("reading %d: %s (%v), want %s", i, got, err, tt.want[i])
				}
				if err != nil && errors.Is(err, fs.ErrNotExist) && err.Error() != file+": no such file or directory" {
					t.Errorf("reading %d: %v", i, err)
				}
			}
		})
	}
}

func outcome(c *config.Config, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case err != nil:
		return "wrong"
	}
	return string(c.Mode)
}
