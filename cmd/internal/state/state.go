// Package state is the state folder: what one run of the daemon leaves for the next.
//
// It has the files secret, addresses.json, lock and, written by platform/hostnet, journal.json. Losing any of them costs little: another
// address on each network, a second of waiting before an address is used, a route that somebody has to remove by hand. So whatever is
// wrong with the folder, a State works, and says what it could not keep.
package state

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"uclat/platform/durable"
)

// ErrVolatile is what Open returns where the folder cannot be written: what is remembered ends with the process.
var ErrVolatile = errors.New("nothing is kept for the next start")

// State is the state folder. It is for one goroutine.
type State struct {
	dir       string    // empty: it cannot be written
	secret    *[32]byte // nil: there is none yet
	unsaved   error     // why the secret could not be written, until NoteUse has said it
	addresses addresses
}

// Open reads the folder, and makes it (with mode 0700) where it is missing. The State is never nil, and can be used whatever the error
// is: that is a warning, to be logged once, or several of them joined, each a line. It is ErrVolatile where the folder cannot be
// written; else it tells of files that cannot be used and are begun anew.
func Open(dir string) (*State, error) {
	s := &State{dir: dir, addresses: addresses{}}
	if dir == "" {
		return s, fmt.Errorf("no state folder is named: %w", ErrVolatile)
	}
	volatile := durable.Folder(dir)
	warnings := errors.Join(s.readSecret(), s.readAddresses()) // also from a folder that can only be read
	if volatile != nil {
		s.dir = ""
		return s, fmt.Errorf("state folder %s cannot be written: %w: %w: make it writable, or name another one", dir, volatile, ErrVolatile)
	}
	return s, warnings
}

// Secret is RFC 7217's secret key. It is made of random octets when it is first asked for, and stays the same from then on, as far as
// the folder can be written.
func (s *State) Secret() [32]byte {
	if s.secret == nil {
		s.secret = new([32]byte)
		rand.Read(s.secret[:]) // never fails
		s.unsaved = s.write("secret", []byte(hex.EncodeToString(s.secret[:])+"\n"))
	}
	return *s.secret
}

// UsedSince says whether NoteUse was told of the address with a time after since, by this process or by an earlier one.
func (s *State) UsedSince(addr netip.Addr, since time.Time) bool {
	return s.addresses[addr].used.After(since)
}

// NoteUse remembers that the address is ours now. It may be called often: for the same address, the folder is written once an hour.
// The error is a warning about what could not be written; that is tried again an hour later.
func (s *State) NoteUse(addr netip.Addr, now time.Time) error {
	err := s.unsaved
	s.unsaved = nil
	if s.addresses.note(addr, now) {
		err = errors.Join(err, s.writeAddresses())
	}
	return err
}

// Journal is the file for hostnet.Options.Journal: empty where the folder cannot be written.
func (s *State) Journal() string {
	if s.dir == "" {
		return ""
	}
	return filepath.Join(s.dir, "journal.json")
}

// readSecret takes the secret, if there is one that can be used.
func (s *State) readSecret() error {
	name := filepath.Join(s.dir, "secret")
	key, err := loadSecret(name)
	switch {
	case err == nil:
		s.secret = key
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return setAside(name, err)
}

// loadSecret is the secret in a file that nobody else can read.
func loadSecret(name string) (*[32]byte, error) {
	data, err := durable.Read(name)
	if err != nil {
		return nil, err
	}
	if err := private(name); err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err != nil || len(key) != 32 {
		return nil, errors.New("not 32 octets in hexadecimal digits")
	}
	return (*[32]byte)(key), nil
}

// private is an error where others may read the file, or may have written it.
func private(name string) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	// Windows has lists of who may do what, and shows none of them here.
	if perm := info.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("may be used by others than its owner (mode %#o)", perm)
	}
	return nil
}

// setAside puts a file that is of no use aside. The error says so: there is always one.
func setAside(name string, why error) error {
	to, err := durable.SetAside(name)
	if err != nil {
		return fmt.Errorf("%s: %w: it is not used, and cannot be put aside either: %w", name, why, err)
	}
	return fmt.Errorf("%s: %w: it was put aside as %s, and a new one is begun", name, why, filepath.Base(to))
}

// write keeps a file, where anything is kept.
func (s *State) write(name string, data []byte) error {
	if s.dir == "" {
		return nil // Open said so
	}
	if err := durable.Write(filepath.Join(s.dir, name), data, 0o600); err != nil {
		return fmt.Errorf("state folder %s: %s cannot be written, and is not kept for the next start: %w", s.dir, name, err)
	}
	return nil
}
