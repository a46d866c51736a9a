package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// prepare makes a host of the fresh namespaces that this process is in.
func prepare(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	// Before anything is mounted: nothing of it may reach the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	// A sysfs shows the devices of the network namespace that it was mounted in.
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /sys: %w", err)
	}
	// The host's daemons (resolver, name cache, message bus, another uclat) are behind sockets in /run. What links there points
	// elsewhere and may be a folder of programs.
	if err := private("/run", func(e fs.DirEntry) bool { return e.Type() == fs.ModeSymlink }); err != nil {
		return err
	}
	hide := []string{"uclat", "hosts", "hostname", "resolv.conf"}
	keep := func(e fs.DirEntry) bool { return !slices.Contains(hide, e.Name()) }
	for _, dir := range []string{"/etc", "/var/lib"} {
		if err := private(dir, keep); err != nil {
			return err
		}
	}
	files := map[string]string{
		"/etc/hosts":       "127.0.0.1 localhost\n::1 localhost\n",
		"/etc/hostname":    name + "\n",
		"/etc/resolv.conf": "",
	}
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}

// hide is Node.Hide, in the node.
func hide(path string) error {
	if _, err := os.Lstat(path); err != nil {
		return err
	}
	return private(filepath.Dir(path), func(e fs.DirEntry) bool { return e.Name() != filepath.Base(path) })
}

// private puts a file system in memory over a directory, so that what is made there is seen in this mount namespace only, and is
// gone with it. The files and folders that keep allows stay where they were, mounted singly; so do links.
func private(dir string, keep func(fs.DirEntry) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// What will be hidden is still reached through this descriptor.
	below, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	defer unix.Close(below)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mounting over %s: %w", dir, err)
	}
	for _, e := range entries {
		if !keep(e) {
			continue
		}
		if err := bring(below, dir, e); err != nil {
			return fmt.Errorf("keeping %s in its place: %w", filepath.Join(dir, e.Name()), err)
		}
	}
	return nil
}

// bring makes one entry of the directory below appear in dir, which is mounted over it.
func bring(below int, dir string, e fs.DirEntry) error {
	path := filepath.Join(dir, e.Name())
	switch e.Type() {
	case fs.ModeSymlink:
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(below, e.Name(), target)
		if err != nil {
			return err
		}
		return os.Symlink(string(target[:n]), path)
	case fs.ModeDir:
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
	case 0:
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
	default:
		return nil // sockets and the like belong to the host's daemons
	}
	tree, err := unix.OpenTree(below, e.Name(), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return unix.MoveMount(tree, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
