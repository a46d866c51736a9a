package state

import (
	"errors"
	"fmt"
	"path/filepath"

	"uclat/platform/durable"
)

// Lock makes the folder this process's until release is called, or the process ends. Two that share one would take the same address, and
// what one has written down to be taken away, the other would take away. A folder that cannot be written is nobody's. The error is one line.
func (s *State) Lock() (release func() error, err error) {
	if s.dir == "" {
		return func() error { return nil }, nil
	}
	release, err = durable.Lock(filepath.Join(s.dir, "lock"))
	var held durable.Held
	switch {
	case errors.As(err, &held):
		return nil, fmt.Errorf("state folder %s: %w: stop that uclat, or give this one a folder of its own (--state-dir)", s.dir, err)
	case err != nil:
		return nil, fmt.Errorf("state folder %s: lock it: %w", s.dir, err)
	}
	return release, nil
}
