// Command uclat gives a host that has only IPv6 a working IPv4 (464XLAT, RFC 6877).
package main

import (
	"context"
	"os"

	"uclat/cmd/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
