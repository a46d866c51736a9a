// Package differential compares the built program with TAYGA (0.9.2): the same random packets go through both, and what comes out must be
// equal, octet by octet, but for what an allow-list explains.
//
// An entry of the allow-list is no filter. It says what the RFC that it names makes of a packet where TAYGA does something else: either
// what TAYGA is to be given instead, or how its answer is to be changed, or both. What results must be the program's answer.
//
//	go test ./test/differential -v                          shows how many packets of each kind there were, and what explained them
//	go test ./test/differential -args -seed 7 -packets 500  other packets, or fewer
package differential
