package policy

import (
	"slices"
	"testing"

	"uclat/platform"
)

func TestLeft(t *testing.T) {
	was := []platform.Link{{Index: 2, Name: "eth0", Up: true, Ups: 1}, {Index: 3, Name: "wlan0"}, {Index: 4, Name: "eth1", Up: true}}
	for _, tt := range []struct {
		name   string
		change func(eth0 *platform.Link)
		want   []int
	}{
		{"nothing happened", func(*platform.Link) {}, nil},
		{"it has another MTU", func(l *platform.Link) { l.MTU = 1280 }, nil},
		{"it went down", func(l *platform.Link) { l.Up = false }, []int{2}},
		{"its carrier came back", func(l *platform.Link) { l.Ups++ }, []int{2}},
		{"it is gone", func(l *platform.Link) { l.Index = 9 }, []int{2}},
		{"it has another name", func(l *platform.Link) { l.Name = "eth9" }, []int{2}},
	} {
		is := slices.Clone(was)
		is[1].Up = true // that is no leaving
		tt.change(&is[0])
		if got := Left(was, is); !slices.Equal(got, tt.want) {
			t.Errorf("%s: left %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := Left(nil, was); got != nil {
		t.Errorf("at first: %v", got)
	}
}
