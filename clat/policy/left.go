package policy

import (
	"slices"

	"uclat/platform"
)

// Left are the links that were up, by their indices, whose network the host may have left since: they are gone, down or others by now, or they
// came up again, which may have been to another network.
func Left(was, is []platform.Link) (left []int) {
	for _, l := range was {
		same := func(now platform.Link) bool {
			return now.Up && now.Index == l.Index && now.Name == l.Name && now.Ups == l.Ups
		}
		if l.Up && !slices.ContainsFunc(is, same) {
			left = append(left, l.Index)
		}
	}
	return left
}
