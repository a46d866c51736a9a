package platform

// ConfigFile is where the configuration is, unless told otherwise.
const ConfigFile = `C:\ProgramData\uclat\uclat.toml`

// StateDir is the folder for what one run leaves for the next, unless told otherwise.
const StateDir = `C:\ProgramData\uclat\state`
