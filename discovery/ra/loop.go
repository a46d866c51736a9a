package ra

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"uclat/discovery"
)

// How many advertisements of one link are reported, a second and at once.
const (
	perSecond = 20
	atOnce    = 40
)

// maxLimits bounds what is remembered of links, which come and go. Each has its burst anew when it is exceeded.
const maxLimits = 256

// How long to wait before something is tried again. It grows by a quarter, so that what is ready is noticed soon, at most a quarter later
// than it could have been.
const (
	minBackoff      = 250 * time.Millisecond
	maxOpenBackoff  = 8 * time.Second // without the socket, no link is heard
	maxRoundBackoff = time.Minute     // one link, which may never be ready: there are some without IPv6
)

// maxMessage is more than any message has: none is fragmented (RFC 6980).
const maxMessage = 1 << 16

// loop is what Run does: it keeps a socket open, tells what comes by it, and keeps a round for each link that is to be solicited.
type loop struct {
	l      *Listener
	report func(discovery.Advertisement)
	rounds map[*order]*round

	socket  Socket // nil: not open
	close   func() // the socket, and waits for its reader
	reopen  time.Time
	backoff backoff
	heard   chan discovery.Advertisement // from the reader
	lost    chan error                   // from the reader: the socket's end

	// The reader's, of which there is one at a time.
	buf     []byte
	limits  map[int]*rate.Limiter
	ignored rate.Sometimes // what is said of bad messages

	failure string // what was logged last
}

func newLoop(l *Listener, report func(discovery.Advertisement)) *loop {
	return &loop{
		l: l, report: report, rounds: map[*order]*round{},
		heard: make(chan discovery.Advertisement), lost: make(chan error),
		buf: make([]byte, maxMessage), limits: map[int]*rate.Limiter{}, ignored: rate.Sometimes{First: 10, Interval: time.Second},
	}
}

func (p *loop) run(ctx context.Context) {
	defer p.shut()
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	for ctx.Err() == nil {
		p.reconcile(time.Now())
		alarm.Reset(time.Until(p.advance(ctx, time.Now())))
		select {
		case <-p.l.changed:
		case <-alarm.C:
		case ad := <-p.heard:
			p.hear(ad)
		case err := <-p.lost:
			p.shut()
			p.failed("cannot receive Router Advertisements", "", err)
			p.l.setErr(fmt.Errorf("cannot receive Router Advertisements: %w", err))
			p.reopen = time.Now().Add(p.backoff.next(maxOpenBackoff))
		case <-ctx.Done():
		}
	}
}

// reconcile begins and ends rounds, so that they are what is wanted.
func (p *loop) reconcile(now time.Time) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	for o := range p.rounds {
		if p.l.wanted[o.link] != o {
			delete(p.rounds, o)
		}
	}
	for _, o := range p.l.wanted {
		if r := p.rounds[o]; r == nil { // the answer to a call of Solicit before, too
			r = new(round)
			r.begin(now, o.fresh)
			p.rounds[o] = r
		} else if o.again {
			r.again(now)
		}
		o.again = false
	}
}

// advance does what is due, and says when there is something to do next.
func (p *loop) advance(ctx context.Context, now time.Time) (next time.Time) {
	if p.socket == nil && !now.Before(p.reopen) && !p.open(ctx, now) {
		p.reopen = now.Add(p.backoff.next(maxOpenBackoff))
	}
	if p.socket == nil {
		return p.reopen // nobody is asked, nor silent: nobody could be heard
	}
	next = now.Add(time.Hour)
	for o, r := range p.rounds {
		if r.isDue(now) {
			err := p.socket.Solicit(o.link)
			if err != nil {
				p.failed("cannot solicit routers", o.link.Name, err)
			}
			r.solicited(now, err == nil)
		}
		if r.isSilent(now) {
			p.report(discovery.Advertisement{Link: o.link.Index})
		}
		for _, t := range []time.Time{r.silence, r.next} {
			if now.Before(t) && t.Before(next) {
				next = t
			}
		}
	}
	return next
}

func (p *loop) hear(ad discovery.Advertisement) {
	p.backoff.reset()
	for o, r := range p.rounds {
		if o.link.Index == ad.Link {
			r.heard(ad.Lifetime > 0)
		}
	}
	p.report(ad)
}

// open opens the socket and reads from it.
func (p *loop) open(ctx context.Context, now time.Time) bool {
	s, err := p.l.listen()
	p.l.setErr(err)
	if err != nil {
		p.failed("cannot listen for Router Advertisements", "", err)
		return false
	}
	for _, r := range p.rounds {
		r.listened(now)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.read(ctx, s)
	}()
	p.socket = s
	p.close = func() {
		cancel()
		s.Close()
		<-ended
	}
	return true
}

// shut closes the socket if it is open.
func (p *loop) shut() {
	if p.socket != nil {
		p.close()
		p.socket, p.close = nil, nil
	}
}

// read hands on what comes by a socket until its end.
func (p *loop) read(ctx context.Context, s Socket) {
	for {
		n, hopLimit, link, from, err := s.Receive(p.buf)
		if err != nil {
			select {
			case p.lost <- err:
			case <-ctx.Done():
			}
			return
		}
		ad, err := parse(p.buf[:n], hopLimit, from)
		if err != nil {
			p.ignore(link, from, err)
			continue
		}
		if !p.limit(link).Allow() {
			continue
		}
		ad.Link = link
		select {
		case p.heard <- ad:
		case <-ctx.Done():
			return
		}
	}
}

// limit is the rate limit of a link.
func (p *loop) limit(link int) *rate.Limiter {
	limit := p.limits[link]
	if limit == nil {
		if len(p.limits) >= maxLimits {
			clear(p.limits)
		}
		limit = rate.NewLimiter(perSecond, atOnce)
		p.limits[link] = limit
	}
	return limit
}

func (p *loop) ignore(link int, from netip.Addr, why error) {
	p.ignored.Do(func() {
		p.l.log.Debug("a Router Advertisement is ignored", "link", link, "from", from, "why", why)
	})
}

// failed logs what goes wrong, once: it will be tried again and again, on a link that is not ready or not meant for this.
func (p *loop) failed(msg, link string, err error) {
	if text := msg + link + err.Error(); text != p.failure {
		p.failure = text
		p.l.log.Debug(msg, "link", link, "error", err)
	}
}

// backoff is the time to wait after the next failure. The zero value is that after the first.
type backoff time.Duration

func (b *backoff) next(most time.Duration) time.Duration {
	d := max(time.Duration(*b), minBackoff)
	*b = backoff(min(d*5/4, most))
	return d
}

func (b *backoff) reset() { *b = 0 }
