package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// readTOML gives the settings of a file to b.
//
// The decoder of go-toml sees to it that data is TOML, with no key twice. It stops at the first wrong value, though, and knows no
// lines afterwards. So the settings themselves are taken from its syntax tree: each error has its line, and all are reported at once.
func readTOML(b *builder, name string, data []byte) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // editors on Windows write a byte order mark
	r := reader{builder: b, name: name}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		at := place{where: name}
		var decodeError *toml.DecodeError
		if errors.As(err, &decodeError) {
			line, _ := decodeError.Position()
			at = r.place(line)
		}
		why := "is not TOML: " + oneLine(strings.TrimPrefix(err.Error(), "toml: "))
		if strings.Contains(why, "start of value") {
			why += " (strings need quotes)"
		}
		b.fail(at, "", "", why)
		return
	}
	for i, c := range data {
		if c == '\n' {
			r.newlines = append(r.newlines, i)
		}
	}
	r.parser.Reset(data)
	for r.parser.NextExpression() {
		r.expression(r.parser.Expression())
	}
	r.finishMaps()
}

// reader walks through the syntax tree of one file.
type reader struct {
	*builder
	name     string
	parser   unstable.Parser
	newlines []int // offsets

	table string // the header that holds now; empty above the first one
	skip  bool   // the header is wrong, and what stands under it is not looked at

	entry   *mapEntry // the mapping that is being read; nil outside of one
	entries []*mapEntry
}

func (r *reader) place(line int) place {
	return place{where: fmt.Sprintf("%s:%d", r.name, line), line: line}
}

// at is where n stands. It is good for nodes that go-toml keeps a range for: keys and all values but arrays.
func (r *reader) at(n *unstable.Node) place {
	before, _ := slices.BinarySearch(r.newlines, int(n.Raw.Offset))
	return r.place(before + 1)
}

func (r *reader) expression(e *unstable.Node) {
	path, at := r.path("", e)
	switch e.Kind {
	case unstable.Table:
		r.entry, r.table = nil, path
		r.skip = !r.header(path, at, "["+path+"]")
	case unstable.ArrayTable:
		r.entry, r.table = nil, path
		if r.skip = path != mapKey; r.skip {
			r.header(path, at, "[["+path+"]]")
		} else {
			r.newMap(at)
		}
	case unstable.KeyValue:
		if !r.skip {
			path, at = r.path(r.table, e)
			r.value(path, at, e.Value())
		}
	}
}

// path joins table and the key of e with dots, and says where the key begins. A part that is no bare key is quoted, so that no two
// different keys have the same path.
func (r *reader) path(table string, e *unstable.Node) (string, place) {
	var parts []string
	var at place
	if table != "" {
		parts = append(parts, table)
	}
	for i := e.Key(); i.Next(); {
		if at.line == 0 {
			at = r.at(i.Node())
		}
		part := string(i.Node().Data)
		bare := func(c rune) bool {
			return c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		}
		if part == "" || strings.ContainsFunc(part, func(c rune) bool { return !bare(c) }) {
			part = quote(part)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "."), at
}

// header says whether [path] is a table of the configuration; if it is not, or was written with other brackets, that is reported.
func (r *reader) header(path string, at place, written string) bool {
	k := findKey(path)
	switch isTable := slices.Contains(tables(), path); {
	case path == mapKey:
		r.fail(at, written, "", "is an array of tables: write [[map]]")
	case isTable && written == "["+path+"]":
		return true
	case isTable:
		r.fail(at, written, "", "is one table: write ["+path+"]")
	case k != nil:
		r.fail(at, written, "", "is no table but a key: write "+path+" = ... above all tables")
	default:
		r.unknown(path, at, written)
	}
	return false
}

// unknown reports a key or a table that does not exist, and what the user may have meant.
func (r *reader) unknown(path string, at place, written string) {
	if written != path {
		why := didYouMean("[", nearest(path, tables()), "]")
		if why == "" {
			why = ": there are [" + strings.Join(tables(), "], [") + "] and [[map]]"
		}
		r.fail(at, written, "", "unknown table"+why)
		return
	}
	why := didYouMean("", nearest(path, fileKeys()), "")
	if table, _, dotted := strings.Cut(path, "."); why == "" && dotted && keysOf(table) != nil {
		why = ": [" + table + "] has " + strings.Join(keysOf(table), ", ")
	} else if why == "" {
		why = ": outside of tables there are " + strings.Join(keysOf(""), ", ")
	}
	r.fail(at, path, "", "unknown key"+why)
}

func (r *reader) value(path string, at place, v *unstable.Node) {
	isTable := slices.Contains(tables(), path)
	k := findKey(path)
	switch {
	case strings.HasPrefix(path, mapKey+"."):
		r.mapPart(path, at, v)
	case path == mapKey:
		r.inlineMaps(at, v)
	case isTable && v.Kind == unstable.InlineTable:
		for i := v.Children(); i.Next(); {
			inner, innerAt := r.path(path, i.Node())
			r.value(inner, innerAt, i.Node().Value())
		}
	case isTable:
		r.fail(at, path, "", "is a table: write ["+path+"], and its keys below")
	case k == nil:
		r.unknown(path, at, path)
	default:
		r.set(k, setting{place: at, items: r.items(k, at, v)})
	}
}

// items are those values of v that have the type that k wants. The others are reported.
func (r *reader) items(k *key, at place, v *unstable.Node) (items []item) {
	switch {
	case k.List && v.Kind != unstable.Array:
		r.fail(at, k.Name, r.shown(v), "is "+article(v.Kind)+", not an array: put it in [ ]")
		return nil
	case !k.List && v.Kind == unstable.Array:
		r.fail(at, k.Name, "", "is an array, not "+k.Kind.article()+": give one value")
		return nil
	case !k.List:
		if it, ok := r.item(k.Name, k.Kind, at, v); ok {
			items = append(items, it)
		}
		return items
	}
	for i := v.Children(); i.Next(); {
		elementAt := at
		if i.Node().Kind != unstable.Array {
			elementAt = r.at(i.Node())
		}
		if it, ok := r.item(k.Name, k.Kind, elementAt, i.Node()); ok {
			items = append(items, it)
		}
	}
	return items
}

// item is the one value of v, if it has the type wanted.
func (r *reader) item(key string, want Kind, at place, v *unstable.Node) (item, bool) {
	it := item{place: at, text: string(v.Data), shown: r.shown(v)}
	if !want.takes(v.Kind) {
		advice := [...]string{
			String:  "put it in quotes",
			Integer: "write a number without quotes",
			Boolean: "write true or false without quotes",
			Mixed:   "write a word in quotes, or a number without",
		}[want]
		if v.Kind == unstable.Array || v.Kind == unstable.InlineTable {
			advice = "give one value"
		}
		r.fail(at, key, it.shown, "is "+article(v.Kind)+", not "+want.article()+": "+advice)
		return it, false
	}
	if v.Kind == unstable.Integer {
		// TOML has other bases and underscores.
		if n, err := strconv.ParseInt(it.text, 0, 64); err == nil {
			it.text = strconv.FormatInt(n, 10)
		}
	}
	return it, true
}

// shown is v as it was written; empty where that is long.
func (r *reader) shown(v *unstable.Node) string {
	switch v.Kind {
	case unstable.String:
		return quote(string(v.Data))
	case unstable.Array, unstable.InlineTable:
		return ""
	}
	return string(v.Data)
}

// takes says whether a value of TOML's kind is one of k.
func (k Kind) takes(v unstable.Kind) bool {
	switch k {
	case Integer:
		return v == unstable.Integer
	case Boolean:
		return v == unstable.Bool
	case Mixed:
		return v == unstable.String || v == unstable.Integer
	}
	return v == unstable.String
}

func (k Kind) article() string {
	return [...]string{String: "a string", Integer: "an integer", Boolean: "a boolean", Mixed: "a string or an integer"}[k]
}

func article(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "a string"
	case unstable.Integer:
		return "an integer"
	case unstable.Bool:
		return "a boolean"
	case unstable.Float:
		return "a float"
	case unstable.Array:
		return "an array"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or time"
}
