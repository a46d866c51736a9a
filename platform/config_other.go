//go:build !windows

package platform

// ConfigFile is where the configuration is, unless told otherwise.
const ConfigFile = "/etc/uclat/uclat.toml"

// StateDir is the folder for what one run leaves for the next, unless told otherwise.
const StateDir = "/var/lib/uclat"
