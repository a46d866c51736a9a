// Package durable writes small files so that a crash, of the program or of the machine, leaves the old content or the new one, and
// never a half. Errors are the reason alone, without operation and path, which the caller's line has.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// MaxSize is the most that Read takes, in octets: far more than anything that is written here.
const MaxSize = 1 << 20

// unfinished ends the name of what is being written. There is one writer: it finds what an earlier one did not finish.
const unfinished = ".new"

// Folder makes the folder, for nobody else, where it is missing, and finds out whether files can be written there.
func Folder(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return reason(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return reason(err)
	}
	probe := filepath.Join(dir, "probe"+unfinished)
	if err := write(probe, nil, 0o600); err != nil {
		return reason(err)
	}
	return reason(os.Remove(probe))
}

// Write makes data the content of the file, and returns when it is on the disk. The folder exists.
func Write(name string, data []byte, perm fs.FileMode) error {
	next := name + unfinished
	err := write(next, data, perm)
	if err == nil {
		err = os.Rename(next, name)
	}
	if err != nil {
		_ = os.Remove(next)
		return reason(err)
	}
	return sync(filepath.Dir(name))
}

func write(name string, data []byte, perm fs.FileMode) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm) // and follows no link that somebody put there
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Read is the content of a regular file of at most MaxSize octets. One that does not exist is fs.ErrNotExist.
func Read(name string) ([]byte, error) {
	info, err := os.Lstat(name) // before it is opened: opening a pipe waits
	if err != nil {
		return nil, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, reason(err)
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("more than %d octets", MaxSize)
	}
	return data, nil
}

// Remove removes the file, with what Write did not finish. One that does not exist is no error.
func Remove(name string) error {
	gone := false
	for _, n := range []string{name + unfinished, name} {
		err := os.Remove(n)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return reason(err)
		}
		gone = gone || err == nil
	}
	if !gone {
		return nil
	}
	return sync(filepath.Dir(name))
}

// SetAside renames a file that cannot be understood, so that a new one can be begun and somebody may look at the old one. The name is
// NAME.unreadable, and what had that name before is gone.
func SetAside(name string) (to string, err error) {
	to = name + ".unreadable"
	if err := os.Rename(name, to); err != nil {
		return "", reason(err)
	}
	return to, sync(filepath.Dir(name))
}

// sync has the names in a folder written to the disk. Windows has no way to ask for that.
func sync(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return reason(err)
	}
	return reason(errors.Join(f.Sync(), f.Close()))
}

// reason is an error without operation and path.
func reason(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
