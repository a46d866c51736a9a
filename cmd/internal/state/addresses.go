package state

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"uclat/platform/durable"
)

const (
	schema       = 1         // of addresses.json
	maxAddresses = 64        // more networks than anybody visits in the time for which it matters
	writeEvery   = time.Hour // for the same address: the disk may be flash
)

// addresses are those that were ours.
type addresses map[netip.Addr]use

// use is when an address was ours last, as we know and as the folder does.
type use struct{ used, written time.Time }

// addressFile is addresses.json.
type addressFile struct {
	Schema    int                      `json:"schema"`
	Addresses map[netip.Addr]time.Time `json:"addresses"` // when each was ours last
}

// note says whether the folder has to be written for it.
func (a addresses) note(addr netip.Addr, now time.Time) bool {
	u := a[addr]
	age := now.Sub(u.written)
	due := age >= writeEvery || age < 0 // or the clock was wrong
	if u.used = now; due {
		u.written = now
	}
	a[addr] = u
	a.bound()
	return due
}

// bound forgets what was used longest ago.
func (a addresses) bound() {
	if len(a) <= maxAddresses {
		return
	}
	byUse := slices.SortedFunc(maps.Keys(a), func(x, y netip.Addr) int {
		return cmp.Or(a[x].used.Compare(a[y].used), x.Compare(y))
	})
	for _, addr := range byUse[:len(a)-maxAddresses] {
		delete(a, addr)
	}
}

func (s *State) readAddresses() error {
	name := filepath.Join(s.dir, "addresses.json")
	data, err := durable.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var file addressFile
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err == nil && file.Schema != schema {
		err = fmt.Errorf("has schema %d, and not %d", file.Schema, schema)
	}
	if err != nil {
		return setAside(name, err)
	}
	for addr, used := range file.Addresses {
		s.addresses[addr] = use{used, used}
	}
	s.addresses.bound()
	return nil
}

func (s *State) writeAddresses() error {
	file := addressFile{Schema: schema, Addresses: make(map[netip.Addr]time.Time)}
	for addr, u := range s.addresses {
		file.Addresses[addr] = u.used.UTC().Truncate(time.Second)
	}
	data, err := json.MarshalIndent(file, "", "\t")
	if err != nil {
		return fmt.Errorf("state folder: addresses.json: %w", err)
	}
	return s.write("addresses.json", append(data, '\n'))
}
