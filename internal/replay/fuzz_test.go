package replay

import (
	"path/filepath"
	"strings"
	"testing"
)

// FuzzFamilies: whatever the inputs are called, each is read once, and the order of its pieces does not depend on the
// order in which they are named.
func FuzzFamilies(f *testing.F) {
	for _, seed := range []string{
		"/var/log/kern.log\n/var/log/kern.log.1\n/var/log/kern.log.2.gz\n/var/log/kern.log.10.xz", "a-20260301\na-20260301.gz\na",
		"kern.log.1\nkern.log.1", "-\n-", "x.999999\nx.1000000\nx.0\nx.00", "a.1\na.01\na.20260301\na-1700000000", ".1\n..\n/\n.gz",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, names string) {
		list := strings.Split(names, "\n")
		if len(list) > 50 {
			return
		}
		inputs, backward := make([]Input, len(list)), make([]Input, len(list))
		given := map[Input]bool{}
		for i, name := range list {
			inputs[i], backward[len(list)-1-i] = Input{Path: name}, Input{Path: name}
			given[Input{Path: name}] = true
		}
		seen := map[Input]bool{}
		for _, fam := range families(inputs) {
			for _, p := range fam.pieces {
				if seen[p.Input] || !given[p.Input] {
					t.Fatalf("%q: %q is read twice", names, p.Path)
				}
				seen[p.Input] = true
				if !strings.HasPrefix(filepath.Clean(p.Path), strings.TrimSuffix(fam.path, p.suffix)) && len(fam.pieces) > 1 {
					t.Fatalf("%q: %q is no piece of %q", names, p.Path, fam.path)
				}
			}
		}
		if len(seen) != len(given) {
			t.Fatalf("%q: %d of %d are read", names, len(seen), len(given))
		}
		if a, b := len(families(inputs)), len(families(backward)); a != b {
			t.Fatalf("%q: %d families, and %d the other way round", names, a, b)
		}
	})
}
