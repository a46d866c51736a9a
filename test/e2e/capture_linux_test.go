package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// capture is a tcpdump that writes what passes an interface.
type capture struct {
	process *process
	file    string
}

// startCapture returns when the capture has begun. The filter may be empty. Of each frame the headers are kept, also those of a packet
// within an ICMP error.
func startCapture(t *testing.T, n *netlab.Node, dev, filter string) *capture {
	t.Helper()
	c := &capture{file: filepath.Join(t.TempDir(), "capture.pcap")}
	// Not promiscuous: that would be a change of the interface.
	args := []string{"-i", dev, "-p", "-n", "-U", "--immediate-mode", "-Z", "root", "-s", "256", "-B", "32768", "-w", c.file}
	if filter != "" {
		args = append(args, filter)
	}
	c.process = start(t, n, peers.Find(t, "tcpdump"), args...)
	c.process.wait(t, "listening on")
	return c
}

// counts are what tcpdump prints when it gets SIGUSR1.
var counts = regexp.MustCompile(`(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped by kernel`)

// frames ends the capture and returns its link-layer frames, all of them.
func (c *capture) frames(t *testing.T) (frames [][]byte) {
	t.Helper()
	for _, r := range c.records(t) {
		frames = append(frames, r.frame)
	}
	return frames
}

// record is a frame, and when it passed.
type record struct {
	at    time.Time
	frame []byte
}

// records ends the capture and returns what is in it, all of it: a signal alone would end it before it has read the last ones.
func (c *capture) records(t *testing.T) []record {
	t.Helper()
	// The kernel counts what came before it had the filter, and tcpdump does not show that: the numbers may differ for good.
	const enough = 10 // rounds in which nothing more was read
	var said [][]string
	same := 0
	eventually(t, "the capture has read all that there is", func() bool {
		before := len(said)
		if err := c.process.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatalf("%s: %v", c.process.name, err)
		}
		eventually(t, "tcpdump counts", func() bool {
			said = counts.FindAllStringSubmatch(c.process.said(), -1)
			return len(said) > before
		})
		last := said[len(said)-1]
		if last[3] != "0" {
			t.Fatalf("the capture is not complete: %s", last[0])
		}
		if same++; before == 0 || last[0] != said[before-1][0] {
			same = 0
		}
		return last[1] == last[2] || same == enough
	})
	c.process.stop(t, syscall.SIGINT)
	b, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	records, err := readPcap(b)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// seen is how many frames are in the capture by now.
func (c *capture) seen(t *testing.T) int {
	t.Helper()
	return len(c.soFar(t))
}

// soFar are the frames that are in the capture by now.
func (c *capture) soFar(t *testing.T) (frames [][]byte) {
	t.Helper()
	b, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	records, _ := readPcap(b) // the last one may just be written
	for _, r := range records {
		frames = append(frames, r.frame)
	}
	return frames
}

// readPcap reads a capture file as it is written on this kind of machine.
func readPcap(b []byte) (records []record, err error) {
	const (
		fileHeader   = 24
		recordHeader = 16
		magic        = 0xa1b2c3d4
	)
	order := binary.NativeEndian
	if len(b) < fileHeader || order.Uint32(b) != magic {
		return nil, fmt.Errorf("not a capture file (%d octets)", len(b))
	}
	for b = b[fileHeader:]; len(b) > 0; {
		if len(b) < recordHeader {
			return records, fmt.Errorf("capture file ends within a record")
		}
		n := int(order.Uint32(b[8:]))
		if len(b) < recordHeader+n {
			return records, fmt.Errorf("capture file ends within a frame of %d octets", n)
		}
		at := time.Unix(int64(order.Uint32(b)), int64(order.Uint32(b[4:]))*int64(time.Microsecond))
		records = append(records, record{at, b[recordHeader : recordHeader+n]})
		b = b[recordHeader+n:]
	}
	return records, nil
}
