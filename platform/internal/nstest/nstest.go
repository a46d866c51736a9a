// Package nstest runs tests against the real kernel, in network namespaces of their own, so that nothing of the machine is touched.
// It is for tests of packages under platform, and for Linux; on other systems Run skips.
package nstest

import (
	"os"
	"testing"
)

// requireEnv turns a skip for want of privilege into a failure: a build machine that is meant to run these tests sets it to 1.
const requireEnv = "UCLAT_TEST_REQUIRE"

// skip skips t, or fails it where the environment says that these tests must run.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv(requireEnv) == "1" {
		t.Fatalf("%s (%s=1 forbids to skip)", reason, requireEnv)
	}
	t.Skip(reason)
}
