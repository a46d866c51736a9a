// Package fault is an error that is one line for people, with what was wrong and what to do, and a sentinel for programs.
package fault

// Error is found by errors.Is as Kind, and as Cause.
type Error struct {
	Line  string
	Kind  error // the sentinel
	Cause error // nil where the system was not asked
}

func (e *Error) Error() string { return e.Line }

// Unwrap are Kind and, where there is one, Cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}
