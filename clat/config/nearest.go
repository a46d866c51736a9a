package config

import "strings"

// nearest is the key or table that the user may have meant by name; empty if none is near.
func nearest(name string, among []string) string {
	best, least := "", -1
	for _, candidate := range among {
		// A key in the wrong table counts as near, and so does a slip of the hand in its last part.
		d, last := distance(name, candidate), lastPart(name)
		if last != lastPart(candidate) && d > 1+len(last)/4 {
			continue
		}
		if least < 0 || d < least {
			best, least = candidate, d
		}
	}
	return best
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// distance is how many octets must be added, removed or changed to make a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// didYouMean is the end of an error about a name that does not exist; empty where nothing is near.
func didYouMean(before, name, after string) string {
	if name == "" {
		return ""
	}
	return ": did you mean " + before + name + after + "?"
}
