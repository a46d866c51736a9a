package ra

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"uclat/discovery"
)

// Of RFC 4861, 10.
const (
	maxSolicitationDelay = time.Second
	solicitationInterval = 4 * time.Second
	maxSolicitations     = 3
)

// How long to wait before a socket is opened again. It grows by a quarter, so that a link is noticed soon after it is ready, at most a
// quarter later than it could have been.
const (
	minBackoff = 250 * time.Millisecond
	maxBackoff = 8 * time.Second
)

// maxMessage is the size of the largest message that can come: none is fragmented (RFC 6980).
const maxMessage = 1 << 16

// watch listens on one link and solicits its routers.
type watch struct {
	l *Listener
	o *order

	socket  Socket // nil: not open
	close   func() // the socket, and waits for its reader
	heard   chan discovery.Advertisement
	lost    chan error // from the reader: the socket's end
	buf     []byte
	backoff time.Duration
	failure string // what was logged last

	next, silence *time.Timer // when there is something to do; when to report that nobody answers
	sent          int         // solicitations of this round
	answered      bool        // somebody has spoken since it began
	done          bool        // a default router has answered a solicitation of it: no more are due (RFC 4861, 6.3.7)
}

func newWatch(l *Listener, o *order) *watch {
	return &watch{l: l, o: o, heard: make(chan discovery.Advertisement), lost: make(chan error), buf: make([]byte, maxMessage),
		next: time.NewTimer(0), silence: time.NewTimer(0)}
}

func (w *watch) run(ctx context.Context) {
	defer func() {
		w.shut()
		w.next.Stop()
		w.silence.Stop()
	}()
	select {
	case <-w.o.solicit: // before this began: the round that begins now is the answer
	default:
	}
	w.begin(ctx, w.o.fresh)
	for ctx.Err() == nil {
		select {
		case ad := <-w.heard:
			w.answered, w.backoff = true, minBackoff
			w.done = w.done || w.sent > 0 && ad.Lifetime > 0
			w.report(ctx, ad)
		case <-w.next.C:
			w.advance(ctx)
		case <-w.silence.C:
			if !w.answered {
				w.report(ctx, discovery.Advertisement{Link: w.o.link.Index})
			}
		case <-w.o.solicit:
			w.again(ctx)
		case err := <-w.lost:
			w.shut()
			w.failed("cannot receive Router Advertisements", err)
			w.retry()
		case <-ctx.Done():
		}
	}
}

// begin starts a round of solicitations. It listens on a new socket, because the link may have another address than before, as Wi-Fi
// has with another MAC on another network.
func (w *watch) begin(ctx context.Context, delay bool) {
	w.shut()
	w.sent, w.answered, w.done, w.backoff = 0, false, false, minBackoff
	var d time.Duration
	if delay {
		d = rand.N(maxSolicitationDelay)
	}
	w.next.Reset(d)
	w.silence.Reset(d + solicitationInterval)
	w.open(ctx)
}

// again starts another round, unless one has started that has asked nobody yet: however often it is called, routers are asked.
func (w *watch) again(ctx context.Context) {
	switch {
	case w.sent > 0:
		w.begin(ctx, true)
	case w.socket == nil:
		w.backoff = minBackoff
		w.next.Reset(0)
	}
}

// advance does what is due: a socket if there is none, and then a solicitation.
func (w *watch) advance(ctx context.Context) {
	if w.socket == nil && !w.open(ctx) {
		w.retry()
		return
	}
	// One is sent in any case: what a router says unasked may be less than all (RFC 4861, 6.3.7).
	if w.sent == maxSolicitations || w.sent > 0 && w.done {
		return
	}
	if err := w.solicit(ctx); err != nil {
		w.failed("cannot solicit routers", err)
		if w.socket == nil {
			w.retry()
			return
		}
	}
	switch w.sent++; w.sent {
	case 1:
		w.silence.Reset(solicitationInterval)
		w.next.Reset(solicitationInterval)
	case maxSolicitations:
		w.silence.Reset(maxSolicitationDelay)
	default:
		w.next.Reset(solicitationInterval)
	}
}

// solicit sends from a new socket where it cannot from the old one, which may be bound to an address that is gone. One that cannot send
// at all is kept: a packet filter may be in the way, and advertisements come unasked too.
func (w *watch) solicit(ctx context.Context) error {
	err := w.socket.Solicit()
	if err == nil {
		return nil
	}
	w.shut()
	if !w.open(ctx) {
		return err
	}
	return w.socket.Solicit()
}

// open opens the socket and reads from it.
func (w *watch) open(ctx context.Context) bool {
	s, err := w.l.listen(w.o.link)
	if err != nil {
		w.failed("cannot listen for Router Advertisements yet", err)
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.read(ctx, s)
	}()
	w.socket = s
	w.close = func() {
		cancel()
		s.Close()
		<-ended
	}
	return true
}

// shut closes the socket if it is open.
func (w *watch) shut() {
	if w.socket != nil {
		w.close()
		w.socket, w.close = nil, nil
	}
}

// read hands on what comes by a socket until its end.
func (w *watch) read(ctx context.Context, s Socket) {
	for {
		n, hopLimit, from, err := s.Receive(w.buf)
		if err != nil {
			select {
			case w.lost <- err:
			case <-ctx.Done():
			}
			return
		}
		ad, err := parse(w.buf[:n], hopLimit, from)
		if err != nil {
			w.ignored(from, err)
			continue
		}
		ad.Link = w.o.link.Index
		select {
		case w.heard <- ad:
		case <-ctx.Done():
			return
		}
	}
}

// retry comes back to open the socket.
func (w *watch) retry() {
	w.next.Reset(w.backoff)
	w.backoff = min(w.backoff*5/4, maxBackoff)
}

func (w *watch) report(ctx context.Context, ad discovery.Advertisement) {
	select {
	case w.l.reports <- ad:
	case <-ctx.Done():
	}
}

// failed logs what goes wrong, once: it will be tried again and again, on a link that is not ready or not meant for this.
func (w *watch) failed(msg string, err error) {
	if text := msg + err.Error(); text != w.failure {
		w.failure = text
		w.l.log.Debug(msg, "link", w.o.link.Name, "error", err)
	}
}

func (w *watch) ignored(from netip.Addr, why error) {
	w.l.log.Debug("a Router Advertisement is ignored", "link", w.o.link.Name, "from", from, "why", why)
}
