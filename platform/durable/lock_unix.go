//go:build unix

package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Held is the error of Lock where another process has the lock.
type Held struct {
	PID int // 0: unknown
}

func (h Held) Error() string {
	if h.PID == 0 {
		return "held by another process"
	}
	return fmt.Sprintf("held by process %d", h.PID)
}

// Lock makes the file this process's, until it ends or release is called, which leaves the file where it is: who removes a lock takes
// it from those that wait for it.
func Lock(name string) (release func() error, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, reason(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			text, _ := io.ReadAll(io.LimitReader(f, 32))
			pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			return nil, Held{PID: pid}
		}
		return nil, err
	}
	// For whoever comes second. The lock holds without it.
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return f.Close, nil
}
