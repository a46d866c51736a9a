package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctls is /proc/sys. Keys are paths below it ("net/ipv6/conf/eth0/forwarding"): names of interfaces may contain dots. A key that
// does not exist is fs.ErrNotExist.
type sysctls interface {
	read(key string) (string, error)
	write(key, value string) error
	list(dir string) ([]string, error)
}

// procSys is the sysctls in a folder: the real one is /proc/sys.
type procSys struct{ root string }

func (p procSys) read(key string) (string, error) {
	b, err := os.ReadFile(filepath.Join(p.root, key))
	if err != nil {
		return "", fmt.Errorf("sysctl %s: cannot be read: %w", key, bare(err))
	}
	return strings.TrimSpace(string(b)), nil
}

func (p procSys) write(key, value string) error {
	f, err := os.OpenFile(filepath.Join(p.root, key), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("sysctl %s: cannot be set to %s: %w: run as root, and in a container make /proc/sys writable", key, value, bare(err))
	}
	return nil
}

func (p procSys) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(p.root, dir))
	if err != nil {
		return nil, fmt.Errorf("sysctls under %s: cannot be listed: %w", dir, bare(err))
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// bare is a file's error without operation and path, which the caller's line has.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// change is one sysctl that we set.
type change struct{ key, old, new string }

// journal is what we set, in order, so that it can be put back. It is data and not closures: what is in it can be looked at.
type journal struct {
	sys  sysctls
	done []change
}

// set gives the key the value, and remembers what it was. A key that has the value already is nobody's change.
func (j *journal) set(key, value string) error {
	old, err := j.sys.read(key)
	if err != nil || old == value {
		return err
	}
	if err := j.sys.write(key, value); err != nil {
		return err
	}
	j.done = append(j.done, change{key, old, value})
	return nil
}

// holds says whether the key has a value of ours.
func (j *journal) holds(key string) bool {
	for _, c := range j.done {
		if c.key == key {
			return true
		}
	}
	return false
}

// undo puts back, last first, all that keep (nil: nothing) does not want kept. What somebody else has set since stays as it is, and
// what is gone with its interface is forgotten. What cannot be put back stays in the journal.
func (j *journal) undo(keep func(key string) bool) error {
	var errs error
	left := j.done[:0:0]
	for i := len(j.done) - 1; i >= 0; i-- {
		c := j.done[i]
		if keep != nil && keep(c.key) {
			left = append(left, c)
			continue
		}
		now, err := j.sys.read(c.key)
		if err == nil && now == c.new {
			err = j.sys.write(c.key, c.old)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			left = append(left, c)
			errs = errors.Join(errs, err)
		}
	}
	j.done = j.done[:0]
	for i := len(left) - 1; i >= 0; i-- {
		j.done = append(j.done, left[i])
	}
	return errs
}
