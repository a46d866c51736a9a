// Package bench measures the program beside others that do the same, both sides in one run, in namespaces of its own.
package bench
