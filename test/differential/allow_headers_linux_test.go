package differential

// allowHeaders are about the headers in front of everything.
var allowHeaders = []entry{
	{
		name:   "IPv4 of up to 1260 octets has no DF but an Identification",
		clause: "RFC 7915, 5.1",
		then: each(func(x *trial, in, out []byte, i int) []byte {
			v := look(in)
			if !v.six || v.fragment > 0 || out[0]>>4 == 6 || isOwn(out) || len(out) > 1260 {
				return out
			}
			return identified(x, resized(with(out, 6, 0)), i)
		}),
	},
}
