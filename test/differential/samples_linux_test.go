package differential

import (
	"iter"
	"time"
)

// Of ICMP errors of its own the program sends 100 at once, and then 100 in a second. Below that, its limit makes no difference.
const (
	errorBurst      = 80
	errorsPerSecond = 80
	share           = 40 // one sample in so many draws one
)

// samples are n samples. Those that draw ICMP errors come as often as the program sends these, among the others.
func samples(seed uint64, n int) iter.Seq[sample] {
	return func(yield func(sample) bool) {
		several := n / share
		next := several // the numbers below are those that draw errors
		limit := pace{left: errorBurst, last: time.Now()}
		for drawn := 0; drawn < several || next < n; {
			switch {
			case drawn < several && limit.take():
				s := generate(answered, seed, drawn)
				s.answered = true
				drawn++
				if !yield(s) {
					return
				}
			case next < n:
				s := generate(plain, seed, next)
				next++
				if !yield(s) {
					return
				}
			default:
				time.Sleep(time.Second / errorsPerSecond) // there is nothing else left to send
			}
		}
	}
}

// pace lets errorBurst through, and what it gets back in time.
type pace struct {
	left float64
	last time.Time
}

func (p *pace) take() bool {
	now := time.Now()
	p.left = min(errorBurst, p.left+now.Sub(p.last).Seconds()*errorsPerSecond)
	p.last = now
	if p.left < 1 {
		return false
	}
	p.left--
	return true
}
