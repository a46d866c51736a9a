package tundev

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheckName(t *testing.T) {
	for _, name := range []string{"clat0", "a", "exactly15octets", "eth0.100", "clät"} {
		if err := checkName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "sixteen-octets-x", "a/b", "a b", "a\tb", "a\u00a0b", "a\x00b", "a\nb", "clat%d", "clat0:1"} {
		err := checkName(name)
		if !errors.Is(err, ErrName) {
			t.Errorf("%q: %v, want ErrName", name, err)
			continue
		}
		if strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%q: not one line: %q", name, err)
		}
	}
}
