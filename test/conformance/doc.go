// Package conformance tests uclat against the standards: one test for each requirement of requirements.tsv, named by its ID.
// It knows only what a user of the packages knows, and has gopacket build and judge all packets, which shares no code with ours.
//
// A requirement's test is the subtest TestSomething/ID; what is below it are its cases. The sub-packages count what is covered, and
// try whether the tests notice faults.
package conformance
