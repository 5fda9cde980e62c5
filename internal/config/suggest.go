package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// unknownKey says what may stand in the place of key: the key that was probably meant, here or in another section,
// else all that are allowed.
func unknownKey(key string, allowed []string, root reflect.Type) string {
	if near := nearest(key, allowed); near != "" {
		return fmt.Sprintf("unknown key; did you mean %s?", near)
	}
	for _, path := range paths(root, "") {
		if path == key || strings.HasSuffix(path, "."+key) {
			return fmt.Sprintf("unknown key here; did you mean %s?", path)
		}
	}
	return "unknown key; allowed: " + strings.Join(allowed, ", ")
}

// looksSecret tells whether a key that nobody knows may be a slip for one that holds a secret.
func looksSecret(key string) bool {
	return slices.ContainsFunc([]string{"pass", "pasw", "secret", "token", "key", "cred", "auth"}, func(word string) bool {
		return strings.Contains(strings.ToLower(key), word)
	})
}

// nearest is the one of words that word is most likely a slip for; empty where none is near.
func nearest(word string, words []string) string {
	best, distance := "", max(1, min(3, len(word)/3))+1
	for _, w := range words {
		if d := edits(strings.ToLower(word), w); d < distance {
			best, distance = w, d
		}
	}
	return best
}

// edits counts the insertions, deletions, replacements and swaps of neighbours that turn a into b.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var before, last, row []int
	last = make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row = make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// keys lists the keys of a struct in the order of its fields.
func keys(t reflect.Type) []string {
	var out []string
	for f := range fields(t) {
		out = append(out, keyOf(f))
	}
	return out
}

// Keys lists the full path of every key of a configuration struct, sections included, in the order of its fields.
func Keys(schema any) []string { return paths(reflect.TypeOf(schema), "") }

// paths lists the full path of every key below t; lists and maps are not entered.
func paths(t reflect.Type, prefix string) []string {
	var out []string
	for f := range fields(t) {
		path := join(prefix, keyOf(f))
		out = append(out, path)
		if ft := f.Type; ft.Kind() == reflect.Struct && ft != t {
			out = append(out, paths(ft, path)...)
		}
	}
	return slices.Clip(out)
}
