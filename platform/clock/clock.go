// Package clock is the time that lifetimes on the network are measured by: it goes on while the machine is suspended. Where it can, it stays as it
// is when somebody sets the clock.
package clock
