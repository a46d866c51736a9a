package nexthop

import (
	"net/netip"
	"reflect"
	"testing"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func TestStates(t *testing.T) {
	for nud, want := range map[uint16]State{
		unix.NUD_NONE:       Unresolved,
		unix.NUD_INCOMPLETE: Unresolved,
		unix.NUD_REACHABLE:  Reachable,
		unix.NUD_DELAY:      Reachable,
		unix.NUD_PROBE:      Reachable,
		unix.NUD_PERMANENT:  Reachable,
		unix.NUD_NOARP:      Reachable,
		unix.NUD_STALE:      Stale,
		unix.NUD_FAILED:     Failed,
	} {
		if got := (neighbour{state: nud}).known(); got != want {
			t.Errorf("%#x: %v, want %v", nud, got, want)
		}
	}
	names := map[State]string{Unresolved: "unresolved", Reachable: "reachable", Stale: "stale", Failed: "failed"}
	for s, want := range names {
		if s.String() != want {
			t.Errorf("%d is called %q, want %q", s, s, want)
		}
	}
}

// message is one as the kernel tells it, with extra attributes behind the address.
func message(t testing.TB, n neighbour, attrs ...nl.Attribute) nl.Message {
	t.Helper()
	data, err := n.request(netip.MustParseAddr("fe80::1"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := nl.MarshalAttributes(attrs)
	if err != nil {
		t.Fatal(err)
	}
	return nl.Message{Header: nl.Header{Type: unix.RTM_NEWNEIGH}, Data: append(data, more...)}
}

func TestParse(t *testing.T) {
	want := neighbour{link: 7, state: unix.NUD_STALE, flags: unix.NTF_ROUTER, hardware: macs[0]}
	whole := message(t, want, nl.Attribute{Type: unix.NDA_LLADDR, Data: macs[0]})
	if got, ok := parse(whole); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %t; want %+v", got, ok, want)
	}
	deleted := whole
	deleted.Header.Type = unix.RTM_DELNEIGH
	if _, ok := parse(deleted); !ok {
		t.Error("a deleted entry is none")
	}

	other := whole
	other.Header.Type = unix.RTM_NEWLINK
	ipv4 := message(t, want)
	ipv4.Data[0] = unix.AF_INET
	badExt := message(t, want, nl.Attribute{Type: 15, Data: []byte{1, 2, 3}}) // NDA_FLAGS_EXT has four octets
	for name, m := range map[string]nl.Message{
		"another message": other,
		"IPv4":            ipv4,
		"proxy":           message(t, neighbour{link: 7, flags: unix.NTF_PROXY}),
		"bad attribute":   badExt,
		"nothing":         {Header: whole.Header},
		"half a header":   {Header: whole.Header, Data: whole.Data[:unix.SizeofNdMsg-1]},
		"half an attribute": {Header: whole.Header,
			Data: whole.Data[:unix.SizeofNdMsg+3]},
	} {
		if n, ok := parse(m); ok {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message(f, neighbour{link: 7, state: unix.NUD_STALE}, nl.Attribute{Type: unix.NDA_LLADDR, Data: macs[0]}).Data)
	f.Add(message(f, neighbour{link: 7}, nl.Attribute{Type: 15, Data: []byte{1, 0, 0, 0}}).Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range []nl.HeaderType{unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH} {
			if n, ok := parse(nl.Message{Header: nl.Header{Type: kind}, Data: data}); ok && data[0] != unix.AF_INET6 {
				t.Errorf("%+v, of family %d", n, data[0])
			}
		}
	})
}
