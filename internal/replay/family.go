package replay

import (
	"cmp"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// overlap is put behind the path of a piece for those of its matches that lie before the end of the piece before.
const overlap = " (overlap)"

// family is a log that was rotated, with those of its pieces that are to be read, oldest first. It is one stream: its
// pieces follow each other in time, so that their matches add up, as those of two different logs do not.
type family struct {
	// path is the name that the log has while it is being written.
	path   string
	pieces []piece

	// last is each host's newest match of the pieces before the present one, newest that of any so far.
	last, newest map[string]moment
	// lastLine is the time of the last line that carries no year, for the sake of the next one's.
	lastLine time.Time
}

// moment is when a record was written, since boot too where that is known.
type moment struct {
	at   time.Time
	mono time.Duration
}

// before tells whether m is certainly not later than o. Within a second that syslog did not divide, only the time since
// boot can tell.
func (m moment) before(o moment) bool {
	return m.at.Before(o.at) || m.at.Equal(o.at) && m.mono > 0 && m.mono <= o.mono
}

// piece is one input of a family.
type piece struct {
	Input
	index  int    // among the inputs
	suffix string // what rotation put behind the name, packing apart: ".1", "-20260301"; empty: nothing
}

// rotation is what logrotate, newsyslog and BusyBox put behind a name: a number, a date or the seconds since 1970.
var rotation = regexp.MustCompile(`^(.*[A-Za-z].*?)(\.[0-9]{1,5}|[.-][0-9]{4}-?[0-9]{2}-?[0-9]{2}[0-9_.:T-]*|[.-][0-9]{10})$`)

// families sorts inputs into families, in the order in which those are first named. A journal, standard input, and a
// piece that is given twice (kern.log.1 and kern.log.1.gz hold the same) are families of their own.
func families(inputs []Input) []*family {
	var all []*family
	index := map[string]*family{}
	seen := map[Input]bool{}
	for i, in := range inputs {
		if seen[in] {
			continue // the same stream twice would count double
		}
		seen[in] = true
		path, suffix := splitRotation(in)
		p := piece{in, i, suffix}
		f := index[path]
		if in.Journal || in.Path == "-" || f != nil && f.has(suffix) {
			all = append(all, newFamily(in.Path, p))
			continue
		}
		if f == nil {
			f = newFamily(path)
			index[path] = f
			all = append(all, f)
		}
		f.pieces = append(f.pieces, p)
	}
	for _, f := range all {
		f.sort()
	}
	return all
}

func newFamily(path string, pieces ...piece) *family {
	return &family{path: path, pieces: pieces, last: map[string]moment{}, newest: map[string]moment{}}
}

// splitRotation takes what packing and rotation put behind the name of a log off.
func splitRotation(in Input) (path, suffix string) {
	path = filepath.Clean(in.Path)
	for _, packed := range []string{".gz", ".xz", ".zst", ".bz2"} {
		path = strings.TrimSuffix(path, packed)
	}
	dir, name := filepath.Split(path)
	if part := rotation.FindStringSubmatch(name); part != nil {
		return dir + part[1], part[2]
	}
	return path, ""
}

func (f *family) has(suffix string) bool {
	return slices.ContainsFunc(f.pieces, func(p piece) bool { return p.suffix == suffix })
}

// sort puts the oldest piece first: the highest number, the earliest date, and last what has neither. A family of one
// keeps the name that its piece was given by.
func (f *family) sort() {
	slices.SortFunc(f.pieces, func(a, b piece) int {
		return cmp.Or(cmp.Compare(b.number(), a.number()), strings.Compare(a.date(), b.date()))
	})
	if len(f.pieces) == 1 {
		f.path = f.pieces[0].Path
	}
}

// number is N+1 of ".N" with N below a million; 0: the piece is dated or still written.
func (p piece) number() int {
	digits, ok := strings.CutPrefix(p.suffix, ".")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n >= 1e6 {
		return 0
	}
	return n + 1
}

// date is what the piece sorts by among those without a number; all dates of a family are written alike.
func (p piece) date() string {
	if p.suffix == "" {
		return "~" // behind all dates
	}
	return p.suffix
}

// next tells the family that its next piece begins.
func (f *family) next() {
	maps.Copy(f.last, f.newest)
}

// stream is the path under which a match of a piece counts: the family's, unless the match lies before the end of the
// piece before. Then one of the two is a copy, at least in part, and must not count twice. Times since boot tell no order,
// and so are taken likewise.
func (f *family) stream(p piece, m remediate.Match) string {
	if len(f.pieces) == 1 {
		return f.path
	}
	now := moment{m.Time, m.Mono}
	if m.Time.IsZero() || now.before(f.last[m.Host]) {
		return p.Path + overlap
	}
	if !now.before(f.newest[m.Host]) {
		f.newest[m.Host] = now
	}
	return f.path
}
