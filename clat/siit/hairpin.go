package siit

// back translates once more what to4 made of a packet from one IPv6 host with a Mapping to another: it never gets to the IPv4 side, where
// nobody would send it back with a source that the other can answer to (RFC 7757, 4.2.2).
func (t *Translator) back(r Result, s *Scratch) Result {
	if r.Verdict == Forward {
		r = t.to6(r.Out[0], s) // it is one: to4 leaves it to us to fragment
		if r.Verdict == Reply {
			r = t.backReply(r, s)
		}
	}
	s.hairpin = false
	return r
}

// backReply translates an ICMPv4 error of ours about what is IPv4 only here: it goes to an IPv6 host.
func (t *Translator) backReply(r Result, s *Scratch) Result {
	six := t.to6(r.Out[0], s)
	if six.Verdict != Forward {
		s.Errors++ // it was not sent, and it does not matter from which budget
		return drop(r.Reason)
	}
	r.Out = six.Out
	return r
}
