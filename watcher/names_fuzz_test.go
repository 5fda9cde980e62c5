package watcher

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzRotatedName: what rotation and a packer put behind a name is found again, also before the name's own ending; and
// the order of such names is one.
func FuzzRotatedName(f *testing.F) {
	f.Add("kern.log", ".1", ".gz", "-20260102", ".999999")
	f.Add("kern", "-20260102-09", ".zst", "-20260102-10", "")
	f.Add(".", ".0", ".xz", ".00", "-1700000000")
	f.Add("x.log", ".1.log", "", ".1", ".01")
	f.Fuzz(func(t *testing.T, base, suffix, ext, b, c string) {
		if strings.ContainsAny(base, "/\x00") || base == "" {
			return
		}
		packed := slices.Contains([]string{".gz", ".xz", ".zst", ".bz2"}, ext)
		if rotatedSuffix.MatchString(suffix) && (ext == "" || packed) {
			for _, name := range []string{
				base + suffix + ext, strings.TrimSuffix(base, filepath.Ext(base)) + suffix + filepath.Ext(base) + ext,
			} {
				got, ok := parseRotated(name, base)
				if _, ends := cutPacked(filepath.Ext(base)); ends && filepath.Ext(base) != "" {
					continue // a log that is called like a packed file
				}
				if !ok || got.packed != packed || got.number() < 0 || got.number() > 1e6 {
					t.Fatalf("%q of %q: %+v, %t", name, base, got, ok)
				}
			}
		}
		if compareNumbers(suffix, b) != -compareNumbers(b, suffix) {
			t.Fatalf("%q and %q have two orders", suffix, b)
		}
		if compareNumbers(suffix, b) < 0 && compareNumbers(b, c) < 0 && compareNumbers(suffix, c) >= 0 {
			t.Fatalf("%q, %q and %q have no order", suffix, b, c)
		}
	})
}
