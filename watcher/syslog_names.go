package watcher

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rotatedName is what a file's name says of how it was rotated.
type rotatedName struct {
	suffix string // what stands behind the name, packing apart: ".1", "-20260102"
	packed bool
}

// rotatedSuffix is what logrotate puts behind a name: a number or a date.
var rotatedSuffix = regexp.MustCompile(`^[.-][0-9][0-9_.:T-]*$`)

// dateSuffix is a date that begins with the year, or the seconds since 1970: dates of one kind are in order of time when
// they are in order of their numbers.
var dateSuffix = regexp.MustCompile(`^[.-](19|20)[0-9]{2}-?[0-9]{2}-?[0-9]{2}([^0-9].*|[0-9]{2}.*)?$|^[.-][0-9]{10}$`)

// parseRotated tells whether name says that the file was called base once: kern.log.1, kern.log-20260102.xz, or with
// logrotate's "extension .log", kern-20260102.log.xz.
func parseRotated(name, base string) (rotatedName, bool) {
	name, packed := cutPacked(name)
	if suffix, ok := strings.CutPrefix(name, base); ok && rotatedSuffix.MatchString(suffix) {
		return rotatedName{suffix, packed}, true
	}
	ext := filepath.Ext(base)
	suffix, ok := strings.CutPrefix(name, strings.TrimSuffix(base, ext))
	if !ok || ext == "" {
		return rotatedName{}, false
	}
	suffix, ok = strings.CutSuffix(suffix, ext)
	return rotatedName{suffix, packed}, ok && rotatedSuffix.MatchString(suffix)
}

// cutPacked takes off what a packer puts behind a name.
func cutPacked(name string) (string, bool) {
	for _, ext := range []string{".gz", ".xz", ".zst", ".bz2"} {
		if plain, ok := strings.CutSuffix(name, ext); ok {
			return plain, true
		}
	}
	return name, false
}

// sortRelatives puts the oldest first: by number or by date where all have one, else by the last change, which packers
// hand on.
func sortRelatives(list []relative) {
	oneDirectory := !slices.ContainsFunc(list, func(r relative) bool { return r.real != list[0].real })
	numbered := oneDirectory && !slices.ContainsFunc(list, func(r relative) bool { return r.name.number() == 0 })
	dated := oneDirectory && !slices.ContainsFunc(list, func(r relative) bool { return !dateSuffix.MatchString(r.name.suffix) })
	slices.SortFunc(list, func(a, b relative) int {
		byName := compareNumbers(a.name.suffix, b.name.suffix)
		if numbered {
			byName = b.name.number() - a.name.number()
		}
		byTime := a.touched.Compare(b.touched)
		if !numbered && !dated {
			return cmp.Or(byTime, byName)
		}
		return cmp.Or(byName, byTime)
	})
}

// number is N+1 of ".N" with N below a thousand; 0: it is a date, as .261128 and .0102 are, or something else.
func (r rotatedName) number() int {
	text := strings.TrimPrefix(r.suffix, ".")
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n >= 1000 || len(text) > 1 && text[0] == '0' {
		return 0
	}
	return n + 1
}

var digits = regexp.MustCompile(`[0-9]+`)

// compareNumbers compares what is between the signs as numbers: -20260102-9 is before -20260102-10.
func compareNumbers(a, b string) int {
	return slices.CompareFunc(digits.FindAllString(a, -1), digits.FindAllString(b, -1), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
}
