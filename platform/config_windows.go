package platform

// ConfigFile is where the configuration is, unless told otherwise.
const ConfigFile = `C:\ProgramData\uclat\uclat.toml`
