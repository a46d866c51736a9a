package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// maxFile is the size in octets above which a file is no configuration: room for 10,000 mappings.
const maxFile = 1 << 20

// Flag is a setting of the command line.
type Flag struct {
	Name   string   // a Key's, without dashes
	Values []string // all that were given; the last one counts, or all for a list, which then replaces the file's
}

// Load reads the file at path, and then the flags, which win. Where the file cannot be read the error is a *Error around that of the
// system; otherwise it is that of Parse.
func Load(path string, flags ...Flag) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		var pathError *fs.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err
		}
		return nil, &Error{Where: path, Why: err.Error(), cause: err}
	}
	return Parse(path, data, flags...)
}

// LoadOptional is Load, but a file that does not exist is as good as an empty one.
func LoadOptional(path string, flags ...Flag) (*Config, error) {
	c, err := Load(path, flags...)
	if errors.Is(err, fs.ErrNotExist) {
		return Parse(path, nil, flags...)
	}
	return c, err
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("has more than %d octets, and is no configuration", maxFile)
	}
	return data, err
}

// Parse reads data, the content of the file called name, and then the flags, which win. An error is one or more *Error, joined.
func Parse(name string, data []byte, flags ...Flag) (*Config, error) {
	b := builder{config: Default(), given: map[string]setting{}}
	readTOML(&b, name, data)
	b.flags(flags)
	if len(b.errs) == 0 {
		b.check()
	}
	if len(b.errs) > 0 {
		return nil, b.joined()
	}
	c := b.config // without the builder
	return &c, nil
}

// builder makes a Config, and remembers where each setting came from.
type builder struct {
	config Config
	given  map[string]setting // by the key's name; without those that hold their default
	errs   []*Error
}

// place is where something was written.
type place struct {
	where string // as in Error
	line  int    // 0 for flags
}

// item is one value as it was written.
type item struct {
	place
	text  string // what it means
	shown string // what the user sees in an error
}

// setting is one key as it was written.
type setting struct {
	place
	items []item
}

// set replaces what k was by s.
func (b *builder) set(k *key, s setting) {
	if k.List {
		k.reset(&b.config)
	}
	for _, it := range s.items {
		if err := k.set(&b.config, it.text); err != nil {
			b.fail(it.place, k.Name, it.shown, err.Error())
		}
	}
	b.given[k.Name] = s
}

func (b *builder) flags(flags []Flag) {
	for _, f := range flags {
		at := place{where: "--" + f.Name}
		k := findKey(f.Name)
		switch {
		case k == nil:
			b.fail(at, "", "", "is no setting"+didYouMean("--", nearest(f.Name, flagNames()), ""))
			continue
		case len(f.Values) == 0:
			b.fail(at, "", "", "needs a value")
			continue
		}
		values := f.Values
		if !k.List {
			values = values[len(values)-1:]
		}
		s := setting{place: at}
		for _, v := range values {
			s.items = append(s.items, item{place: at, text: v, shown: quote(v)})
		}
		b.set(k, s)
	}
}

func (b *builder) fail(at place, key, shown, why string) {
	b.errs = append(b.errs, &Error{Where: at.where, Key: key, Value: shown, Why: why, line: at.line})
}

// joined is all errors in the order of the file; those of flags keep theirs and come last.
func (b *builder) joined() error {
	line := func(e *Error) int {
		if e.line == 0 {
			return math.MaxInt
		}
		return e.line
	}
	slices.SortStableFunc(b.errs, func(x, y *Error) int { return cmp.Compare(line(x), line(y)) })
	all := make([]error, len(b.errs))
	for i, e := range b.errs {
		all[i] = e
	}
	return errors.Join(all...)
}

// oneLine is text without line breaks and other control characters.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// quote shows text within one line of bearable length.
func quote(text string) string {
	const most = 80
	if len(text) > most {
		return strconv.Quote(text[:most]) + "..."
	}
	return strconv.Quote(text)
}
