package web

import (
	"crypto/rand"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/ctwarden/ctwarden/remediate"
)

// The bits of a row's flags, as static/js/columns.js reads them.
const (
	flagWarning uint32 = 1 << iota
	flagCritical
	flagSilent
	flagStopped
	flagHeld
	flagRemediate
	flagGone
)

// board is the copy of every host's row that readers are served from. A host keeps its place for as long as the hub runs,
// so that a change is told by number.
type board struct {
	// epoch tells this board from another hub's, whose numbers mean other hosts.
	epoch string

	mu sync.RWMutex
	// revision counts the refreshes that changed something; source is the fleet's own revision.
	revision, source        uint64
	index                   map[HostRef]uint32
	rows                    []boardRow
	sites, labels, versions dictionary
	// order has all places sorted by site and host; it is cut to nil when a host comes.
	order []uint32
}

// boardRow is 64 bytes and the name: 100,000 of them are 10 MB.
type boardRow struct {
	// changed and named are the board's revisions at which the row, and its name, site, labels or version, last changed.
	changed, named          uint64
	host                    string
	count, max, refused     uint32
	seen                    uint32 // Unix time, in seconds
	flags                   uint32
	site, labelSet, version uint32
}

// dictionary numbers the few different values that many rows share.
type dictionary struct {
	numbers map[string]uint32
	values  []string
}

func (d *dictionary) number(value string) uint32 {
	n, known := d.numbers[value]
	if !known {
		if d.numbers == nil {
			d.numbers = map[string]uint32{}
		}
		n = uint32(len(d.values))
		d.numbers[value] = n
		d.values = append(d.values, value)
	}
	return n
}

func newBoard() *board { return &board{epoch: rand.Text(), index: map[HostRef]uint32{}} }

// refresh takes what changed in the fleet, and tells whether anything did.
func (b *board) refresh(f Fleet) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.revision > 0 && f.Revision() == b.source {
		return false
	}
	next, changed := b.revision+1, b.revision == 0
	b.source = f.Rows(b.source, func(r Row) { changed = b.take(r, next) || changed })
	if changed {
		b.revision = next
	}
	return changed
}

// take puts one row in its place, and tells whether it differs from what was there.
func (b *board) take(r Row, revision uint64) bool {
	key := HostRef{r.Site, r.Host}
	place, known := b.index[key]
	if !known {
		if r.Gone {
			return false
		}
		place = uint32(len(b.rows))
		b.index[key] = place
		b.rows = append(b.rows, boardRow{host: r.Host, site: b.sites.number(r.Site), named: revision, changed: revision})
		b.order = nil
	}
	old := &b.rows[place]
	row := *old
	row.count, row.max, row.refused, row.flags = clamp(r.Count), clamp(r.Max), clamp(r.Refused), flagsOf(r)
	row.seen = 0
	if !r.Seen.IsZero() {
		row.seen = uint32(max(0, min(r.Seen.Unix(), math.MaxUint32)))
	}
	row.labelSet, row.version = b.labels.number(strings.Join(r.Labels, "\x00")), b.versions.number(r.Version)
	if row == *old && known {
		return false
	}
	row.changed = revision
	if row.labelSet != old.labelSet || row.version != old.version {
		row.named = revision
	}
	*old = row
	return true
}

func clamp(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

func flagsOf(r Row) (flags uint32) {
	for _, one := range []struct {
		on   bool
		flag uint32
	}{
		{r.Severity == remediate.SeverityWarning, flagWarning}, {r.Severity == remediate.SeverityCritical, flagCritical},
		{r.Silent, flagSilent}, {r.Stopped, flagStopped}, {r.Held, flagHeld}, {r.Mode == remediate.ModeRemediate, flagRemediate},
		{r.Gone, flagGone},
	} {
		if one.on {
			flags |= one.flag
		}
	}
	return flags
}

// severityOf and modeOf are flagsOf the other way.
func severityOf(flags uint32) remediate.Severity {
	switch {
	case flags&flagCritical != 0:
		return remediate.SeverityCritical
	case flags&flagWarning != 0:
		return remediate.SeverityWarning
	}
	return ""
}

func modeOf(flags uint32) remediate.Mode {
	if flags&flagRemediate != 0 {
		return remediate.ModeRemediate
	}
	return remediate.ModeObserve
}

// sorted is the places of all rows by site and host, numbers within names by their value. The caller holds the lock.
func (b *board) sorted() []uint32 {
	if b.order != nil {
		return b.order
	}
	order := make([]uint32, len(b.rows))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(x, y uint32) int {
		if c := natural(b.sites.values[b.rows[x].site], b.sites.values[b.rows[y].site]); c != 0 {
			return c
		}
		return natural(b.rows[x].host, b.rows[y].host)
	})
	b.order = order
	return order
}

// natural compares as a person would: h2 comes before h10. Names that differ in nothing but leading zeros are told apart
// by their bytes, so that the order is one.
func natural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		if digit(x[0]) && digit(y[0]) {
			var p, q string
			p, x = number(x)
			q, y = number(y)
			if len(p) != len(q) {
				return len(p) - len(q)
			}
			if c := strings.Compare(p, q); c != 0 {
				return c
			}
			continue
		}
		if x[0] != y[0] {
			return int(x[0]) - int(y[0])
		}
		x, y = x[1:], y[1:]
	}
	if len(x) != len(y) {
		return len(x) - len(y)
	}
	return strings.Compare(a, b)
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// number cuts the digits at the beginning of s off, without leading zeros.
func number(s string) (digits, rest string) {
	end := 0
	for end < len(s) && digit(s[end]) {
		end++
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}

// hostCounts are the hosts by state, each in one: the first that is true of silent, stopped, critical, warning, ok.
type hostCounts struct{ Silent, Stopped, Critical, Warning, OK, Held int }

func (b *board) counts() (c hostCounts) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for i := range b.rows {
		flags := b.rows[i].flags
		switch {
		case flags&flagGone != 0:
			continue
		case flags&flagSilent != 0:
			c.Silent++
		case flags&flagStopped != 0:
			c.Stopped++
		case flags&flagCritical != 0:
			c.Critical++
		case flags&flagWarning != 0:
			c.Warning++
		default:
			c.OK++
		}
		if flags&flagHeld != 0 {
			c.Held++
		}
	}
	return c
}
