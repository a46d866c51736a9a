package cli

import (
	"os"

	"uclat/clat/config"
	"uclat/platform"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configFlags gives a command --config and a flag for each key. The function that it returns reads the configuration when the flags are
// parsed.
func configFlags(cmd *cobra.Command) func() (*config.Config, error) {
	flags := cmd.Flags()
	path := flags.String("config", platform.ConfigFile, "configuration `file`")
	values := map[string]*value{}
	for _, k := range config.Keys() {
		v := &value{key: k}
		values[k.Name] = v
		f := flags.VarPF(v, k.Name, "", k.Doc)
		if k.Kind == config.Boolean {
			f.NoOptDefVal = "true"
		}
	}
	return func() (*config.Config, error) {
		var set []config.Flag
		flags.Visit(func(f *pflag.Flag) {
			if v, ok := values[f.Name]; ok {
				set = append(set, config.Flag{Name: f.Name, Values: v.given})
			}
		})
		if flags.Changed("config") {
			return config.Load(*path, set...)
		}
		return config.LoadOptional(*path, set...)
	}
}

// stateDirFlag gives a command --state-dir. systemd names the folder of a service in STATE_DIRECTORY.
func stateDirFlag(cmd *cobra.Command) *string {
	dir := platform.StateDir
	if given := os.Getenv("STATE_DIRECTORY"); given != "" {
		dir = given
	}
	return cmd.Flags().String("state-dir", dir, "`folder` of what is kept for the next start")
}

// value is a flag for a key. It keeps the text: what it means is config's to say.
type value struct {
	key   config.Key
	given []string
}

func (v *value) Set(s string) error {
	v.given = append(v.given, s)
	return nil
}

// String is the default, as the help shows it.
func (v *value) String() string { return v.key.Default }

// Type is the name of the value in the help.
func (v *value) Type() string {
	switch {
	case v.key.Name == "map":
		return "IPV4=IPV6"
	case v.key.Kind == config.Boolean:
		return "bool"
	case v.key.List:
		return "list"
	}
	return v.key.Kind.String()
}
