// Package rtnl is what the packages of platform share of rtnetlink(7).
package rtnl
