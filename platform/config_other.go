//go:build !windows

package platform

// ConfigFile is where the configuration is, unless told otherwise.
const ConfigFile = "/etc/uclat/uclat.toml"
