package datapath

import (
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat"
)

// What is seen of one of our addresses says nothing of another, unless both are asked for.
func TestHealthApart(t *testing.T) {
	const four, six, seven = 1 << 4, 1 << 6, 1 << 7
	const all = four | six | seven
	src := map[uint8]string{four: "100.64.46.4", six: "100.64.46.6", seven: "100.64.46.7"}
	nth := map[uint8]int{four: 0, six: 1, seven: 2}
	begin := func(t *testing.T) *traffic {
		x := newTraffic(t)
		x.e.Swap(hosts(t, src[four], src[six], src[seven]))
		return x
	}
	// second sends to three destinations from each of the addresses, all in one batch.
	second := func(x *traffic, addresses uint8) {
		var batch [][]byte
		for bit := range src {
			for _, dst := range three {
				if addresses&bit != 0 {
					batch = append(batch, by(to(dst), src[bit]))
				}
			}
		}
		_, v6, v4 := x.out.Process(frames(batch...), nil, nil)
		if err := x.out.send(Lane{V6: x.way, V4: x.way}, v6, v4); err != nil {
			x.t.Fatal(err)
		}
		x.out.Done()
		for bit := range src {
			x.e.Health(bit)
		}
		time.Sleep(time.Second)
	}
	for _, c := range []struct {
		name string
		do   func(x *traffic)
		want map[uint8]bool // who is suspect
	}{
		{"one has answers", func(x *traffic) {
			for range 11 {
				second(x, four|six)
				process(x.t, x.in, toward(nth[six]))
			}
		}, map[uint8]bool{four: true}},
		{"none has", func(x *traffic) {
			for range 11 {
				second(x, all)
			}
		}, map[uint8]bool{four: true, six: true, seven: true, all: true, four | six: true}},
		{"one is refused", func(x *traffic) {
			x.way.refuse = func(p []byte) error {
				if p[23] == addr(host6)[15]+1 { // of .6
					return clat.ErrNextHop
				}
				return nil
			}
			for range 11 {
				second(x, all)
			}
		}, map[uint8]bool{four: true, seven: true, all: true, four | six: true}},
		{"one has another way", func(x *traffic) {
			second(x, all)
			x.e.Renew(six)
			for range 10 {
				second(x, all)
			}
		}, map[uint8]bool{four: true, seven: true, all: true, four | six: true}},
		{"one sends", func(x *traffic) {
			for range 11 {
				second(x, six)
			}
		}, map[uint8]bool{six: true, all: true, four | six: true}},
		{"a probe of one is answered", func(x *traffic) {
			for range 11 {
				second(x, all)
			}
			x.answers(time.Second, from(peer6, host6, []byte{129, 0, 0, 0}))
		}, map[uint8]bool{six: true, seven: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, asked := range []uint8{four, six, seven, all, four | six, 1 << 5} { // of each another engine: who asks of some changes what others see
				synctest.Test(t, func(t *testing.T) {
					x := begin(t)
					c.do(x)
					if got := x.e.Health(asked); got.Suspect != c.want[asked] {
						t.Errorf("of %08b: %+v", asked, got)
					}
				})
			}
		})
	}
}

// Of several together, the first and the last packet count, and where any of them were sent.
func TestHealthTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTraffic(t)
		x.e.Swap(hosts(t, "100.64.46.4", "100.64.46.6"))
		begin := time.Now()
		process(t, x.out, to(three[0]))
		x.seconds(1)
		process(t, x.out, by(to(three[1]), "100.64.46.6"))
		x.e.Health(1<<4 | 1<<6)
		time.Sleep(10 * time.Second)
		process(t, x.out, by(to(three[2]), "100.64.46.6"))
		want := Health{Suspect: true, Since: begin, Destinations: 3}
		if got := x.e.Health(1<<4 | 1<<6); got != want {
			t.Errorf("%+v\nwant %+v", got, want)
		}
		process(t, x.in, toward(1))
		if got, want := x.e.Health(1<<4|1<<6), (Health{Heard: true}); got != want {
			t.Errorf("%+v\nwant %+v", got, want)
		}
		if got, want := x.e.Health(1<<4|1<<6), (Health{}); got != want {
			t.Errorf("%+v\nwant %+v", got, want)
		}
	})
}
