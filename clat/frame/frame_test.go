package frame

import (
	"bytes"
	"testing"
)

func TestWrap(t *testing.T) {
	f := Frame{Offload: Offload{GSO: SegmentTCP, SegSize: 9, Checksum: ChecksumPartial}}
	buf := []byte{0, 1, 0x62, 3, 4, 5}
	f.Wrap(buf, 2, 3)
	if !bytes.Equal(f.Bytes(), []byte{0x62, 3, 4}) || f.Len() != 3 || f.Version() != 6 || f.Offload != (Offload{}) {
		t.Errorf("%+v", f)
	}
	if before, behind := f.Room(); before != 2 || behind != 1 {
		t.Errorf("room %d, %d", before, behind)
	}
	f.Wrap(buf, 6, 0)
	if f.Version() != 0 || len(f.Bytes()) != 0 {
		t.Errorf("empty: %+v", f)
	}
}

func TestReshape(t *testing.T) {
	for _, c := range []struct {
		head, n int
		ok      bool
	}{
		{0, 4, true}, {0, 0, true}, {-4, 8, true}, {-4, 12, true}, {8, 0, true}, {4, 4, true},
		{-5, 4, false}, {0, 9, false}, {-4, 13, false}, {9, 0, false}, {0, -1, false}, {4, 5, false},
	} {
		var f Frame
		f.Wrap([]byte("0123456789ab"), 4, 4)
		ok := f.Reshape(c.head, c.n)
		want := "4567"
		if c.ok {
			want = "0123456789ab"[4+c.head : 4+c.head+c.n]
		}
		if ok != c.ok || string(f.Bytes()) != want {
			t.Errorf("%+v: %v, %q", c, ok, f.Bytes())
		}
	}
}

func TestWithRoom(t *testing.T) {
	var f Frame
	f.Wrap([]byte("0123456789ab"), 4, 4)
	if got := f.WithRoom(3); string(got) != "1234567" || cap(got) != 11 {
		t.Errorf("%q of %d", got, cap(got))
	}
	if got := f.WithRoom(4); string(got) != "01234567" {
		t.Errorf("%q", got)
	}
	if got := f.WithRoom(5); got != nil {
		t.Errorf("%q", got)
	}
}

func TestWireLen(t *testing.T) {
	var f Frame
	f.Wrap(make([]byte, 5000), 0, 5000)
	if got := f.WireLen(52); got != 5000 {
		t.Errorf("without segmentation %d", got)
	}
	f.GSO, f.SegSize = SegmentTCP, 1400
	if got := f.WireLen(52); got != 1452 {
		t.Errorf("with segments of 1400: %d", got)
	}
	f.SegSize = 65535
	if got := f.WireLen(52); got != 5000 {
		t.Errorf("one segment is no longer than the packet: %d", got)
	}
}
