package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// ownLabels is how many namespaces have a label of their own: the busiest.
	ownLabels = 20
	// otherLabel is where all the rest is booked.
	otherLabel = "other"
	// keptGone is how many namespaces that are gone are remembered, so that one that comes back, or a new one of the
	// same name, carries on its counters.
	keptGone = 1000
)

// netnsRow is what /metrics says under one value of the label netns.
type netnsRow struct {
	label   string
	entries uint64
	// counters have never been smaller under this label.
	counters remediate.Counters
	// blind is true where the counters cannot be read, so that only the entries are known.
	blind bool
}

// netnsBook books the counters of any number of namespaces under a bounded number of labels. Growth is booked where
// its namespace stands at that moment: under a label of its own if it is one of the busiest, else under "other". A
// namespace that moves between the two leaves behind what was booked, so that no counter ever goes back.
type netnsBook struct {
	own   int
	pages map[uint64]*netnsPage // by inode, those gone included
	other remediate.Counters
	turn  uint64 // counts the snapshots
}

// netnsPage is what is remembered of one namespace.
type netnsPage struct {
	label  string
	last   remediate.Counters // as in the last snapshot
	booked remediate.Counters // under its own label
	seen   uint64             // the turn that it was last in
}

func newNetnsBook(own int) *netnsBook {
	return &netnsBook{own: own, pages: map[uint64]*netnsPage{}}
}

// book takes one snapshot and returns the rows to show: one for each of the busiest, and one for the rest, if there
// are or ever were any.
func (b *netnsBook) book(spaces []NetNSStatus) []netnsRow {
	b.turn++
	spaces = slices.Clone(spaces)
	slices.SortFunc(spaces, busiestFirst)
	var rows []netnsRow
	rest := netnsRow{label: otherLabel}
	present := make(map[uint64]bool, len(spaces))
	for _, s := range spaces {
		present[s.Inode] = true
	}
	for i, s := range spaces {
		p := b.page(s, present)
		grown := s.Counters.Since(p.last) // smaller than before: a new namespace with an old inode
		p.last = s.Counters
		if i >= b.own {
			b.other = b.other.Plus(grown)
			rest.entries += s.Count
			continue
		}
		p.booked = p.booked.Plus(grown)
		rows = append(rows, netnsRow{label: p.label, entries: s.Count, counters: p.booked, blind: s.Blind})
	}
	rest.counters = b.other
	if len(spaces) > b.own || b.other != (remediate.Counters{}) {
		rows = append(rows, rest)
	}
	b.forget()
	return rows
}

// page is the namespace's page. A new namespace takes over the page of one that is gone and had its name.
func (b *netnsBook) page(s NetNSStatus, present map[uint64]bool) *netnsPage {
	p := b.pages[s.Inode]
	if p == nil {
		p = b.newPage(s, present)
		b.pages[s.Inode] = p
	}
	p.seen = b.turn
	return p
}

func (b *netnsBook) newPage(s NetNSStatus, present map[uint64]bool) *netnsPage {
	label := utf8Text(s.Name)
	if label == "" || label == otherLabel {
		label = fmt.Sprintf("netns %d", s.Inode)
	}
	for {
		inode, taken := b.holder(label)
		if !taken {
			return &netnsPage{label: label}
		}
		if !present[inode] {
			booked := b.pages[inode].booked
			delete(b.pages, inode)
			return &netnsPage{label: label, booked: booked}
		}
		label = fmt.Sprintf("%s (%d)", label, s.Inode) // two that live have one name
	}
}

// utf8Text has the bytes that are not UTF-8, which the format does not know, as \x and two digits: a namespace may be
// named by any file name, and two names that differ in such a byte stay two.
func utf8Text(s string) string {
	if valid := strings.ToValidUTF8(s, ""); len(valid) == len(s) {
		return s
	}
	var b strings.Builder
	for i, letter := range s {
		if one := s[i:]; letter == '\uFFFD' && !strings.HasPrefix(one, "\uFFFD") {
			fmt.Fprintf(&b, `\x%02x`, one[0])
			continue
		}
		b.WriteRune(letter)
	}
	return b.String()
}

// holder is the namespace that has the label.
func (b *netnsBook) holder(label string) (uint64, bool) {
	for inode, p := range b.pages {
		if p.label == label {
			return inode, true
		}
	}
	return 0, false
}

// forget drops those that have been gone the longest, where there are too many.
func (b *netnsBook) forget() {
	var gone []uint64
	for inode, p := range b.pages {
		if p.seen != b.turn {
			gone = append(gone, inode)
		}
	}
	if len(gone) <= keptGone {
		return
	}
	slices.SortFunc(gone, func(x, y uint64) int {
		return cmp.Or(cmp.Compare(b.pages[x].seen, b.pages[y].seen), cmp.Compare(x, y))
	})
	for _, inode := range gone[:len(gone)-keptGone] {
		delete(b.pages, inode)
	}
}

// busiestFirst puts the first namespace, whose limit it is, before all others.
func busiestFirst(x, y NetNSStatus) int {
	switch {
	case x.Init && !y.Init:
		return -1
	case y.Init && !x.Init:
		return 1
	}
	return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Inode, y.Inode))
}
