package config

import (
	"net/netip"

	"github.com/pelletier/go-toml/v2/unstable"
)

// mapEntry is one [[map]].
type mapEntry struct {
	place
	ipv4, ipv6 *item
	wrong      bool // which is reported already
}

// newMap begins a mapping; mapPart gives it its halves.
func (r *reader) newMap(at place) {
	r.entry = &mapEntry{place: at}
	r.entries = append(r.entries, r.entry)
}

// inlineMaps reads map = [{ipv4 = ..., ipv6 = ...}, ...].
func (r *reader) inlineMaps(at place, v *unstable.Node) {
	elements := v.Children()
	if v.Kind != unstable.Array {
		r.fail(at, mapKey, "", "is an array of tables: write [[map]], and ipv4 = ... and ipv6 = ... below")
		return
	}
	for elements.Next() {
		element := elements.Node()
		if element.Kind != unstable.InlineTable {
			r.fail(at, mapKey, r.shown(element), "is "+article(element.Kind)+", not a table with ipv4 and ipv6")
			continue
		}
		r.newMap(r.at(element))
		for i := element.Children(); i.Next(); {
			path, partAt := r.path(mapKey, i.Node())
			r.value(path, partAt, i.Node().Value())
		}
	}
	r.entry = nil
}

func (r *reader) mapPart(path string, at place, v *unstable.Node) {
	e := r.entry
	if e == nil {
		r.fail(at, path, "", "is half of a mapping: write it below [[map]]")
		return
	}
	var half **item
	var parse func(string) (netip.Prefix, error)
	switch path {
	case "map.ipv4":
		half, parse = &e.ipv4, hostPrefix4
	case "map.ipv6":
		half, parse = &e.ipv6, mapPrefix6
	default:
		r.unknown(path, at, path)
		e.wrong = true
		return
	}
	it, ok := r.item(path, String, at, v)
	if ok {
		if _, err := parse(it.text); err != nil {
			r.fail(at, path, it.shown, err.Error())
			ok = false
		}
	}
	*half = &it
	e.wrong = e.wrong || !ok
}

// finishMaps makes the setting of all mappings that were begun.
func (r *reader) finishMaps() {
	if len(r.entries) == 0 {
		return
	}
	s := setting{place: r.entries[0].place}
	for _, e := range r.entries {
		switch {
		case e.wrong:
		case e.ipv4 == nil || e.ipv6 == nil:
			r.fail(e.place, mapKey, "", "needs both ipv4 and ipv6")
		default:
			text := e.ipv4.text + "=" + e.ipv6.text
			s.items = append(s.items, item{place: e.place, text: text, shown: quote(text)})
		}
	}
	r.set(findKey(mapKey), s)
}
