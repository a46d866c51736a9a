// Package e2e tests the program on real packets: the kernel's own stack and Debian's programs around it, in namespaces.
//
//	laptop eth0 ---- lan0 router up0 ---- lan0 plat wan0 ---- eth0 server
//	IPv6 only        radvd, unbound       TAYGA, nftables      IPv4 only
//
// The laptop has an address and its default route from radvd, and beside them a /64 routed to it. It has a resolver with DNS64,
// and no IPv4. `make peers` gets the programs.
//
// What is about a host runs on each of its paths (eachPath). Where the cable between laptop and router is not enough, there is a bridge with
// more hosts and another router on it, or a link without link-layer addresses; the laptop may have a VPN or a container.
package e2e
