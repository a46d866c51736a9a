package clat

import (
	"errors"
	"fmt"
)

// ErrNextHop is the error of a queue for a packet whose next hop it does not know: the router was not found, or has not told its link-layer
// address yet.
var ErrNextHop = errors.New("the next hop's link-layer address is not known")

// TooBig is the error of a queue for a packet that is longer than the way out takes: EMSGSIZE.
type TooBig struct {
	MTU int // octets that it takes; 0: unknown
}

func (e TooBig) Error() string {
	return fmt.Sprintf("packet longer than the way out takes (%d octets)", e.MTU)
}
