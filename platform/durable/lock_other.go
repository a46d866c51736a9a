//go:build !unix

package durable

// Held is the error of Lock where another process has the lock.
type Held struct{ PID int }

func (Held) Error() string { return "held by another process" }

// Lock locks nothing on this system, where nothing runs yet that would need it.
func Lock(string) (release func() error, err error) { return func() error { return nil }, nil }
