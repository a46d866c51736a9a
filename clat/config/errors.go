package config

import (
	"slices"
	"strings"
)

// Error is one thing that is wrong with the configuration. Its text is one line, made to be read by the user:
//
//	/etc/uclat/uclat.toml:3: interface.mtu: 1000: is out of range: 0 or 1280 to 65535
//
// Functions that find several return them joined (errors.Join), in the order in which they stand in the file, flags last.
type Error struct {
	Where string // "file:line", "file", or "--flag"
	Key   string // with dots; empty: it is not about a key
	Value string // as it was written, strings in quotes; empty: it is not about a value
	Why   string // what is wrong, and what to do

	line  int   // in the file; 0: none
	cause error // of the operating system
}

// Error is the one line.
func (e *Error) Error() string {
	parts := []string{e.Where}
	if e.Where != "--"+e.Key {
		parts = append(parts, e.Key)
	}
	parts = append(parts, e.Value, e.Why)
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

// Unwrap is the error of the operating system, where the file could not be read.
func (e *Error) Unwrap() error { return e.cause }
