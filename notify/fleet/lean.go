package fleet

import (
	"cmp"
	"slices"
)

// mostValue bounds a saved value: a server takes a megabyte, unless told otherwise, and one that is larger would stop every
// save. A shard of 400 hosts with an open incident each has some 50 KiB.
const mostValue = 900 << 10

// leanings are what is left out of a shard that is too large, one after the other until it fits: rows above a size are
// written at a leanness, see [host.lean]. The largest come first, so that hosts that tell what all others tell keep it.
var leanings = []struct {
	over, lean int
}{{16 << 10, 1}, {4 << 10, 2}, {2 << 10, 3}, {1 << 10, 4}, {0, 4}}

// leanIncidents is how many incidents of a host are saved at leanness 3.
const leanIncidents = 4

// encodeShard is a shard as it is saved. What is left out is known here until the next restart, and then lost.
func (f *Fleet) encodeShard(n uint8) []byte {
	f.scratch = f.appendShard(f.scratch[:0], n, 0, 0)
	value := f.pack(f.scratch)
	for _, l := range leanings {
		if len(value) <= mostValue {
			break
		}
		f.scratch = f.appendShard(f.scratch[:0], n, l.over, l.lean)
		value = f.pack(f.scratch)
	}
	return value
}

// lean is a copy of a host with less of it. At 1 there are no sentences; at 2 also no addresses, and steps of incidents are
// only counted; at 3 there are four incidents at most, open and critical ones first; at 4 there is none.
func (h *host) lean(leanness int) *host {
	c := *h
	c.row, c.incidents, c.steps = nil, nil, slices.Clone(h.steps)
	if leanness >= 3 {
		c.steps, c.tombs = nil, nil
	}
	withoutWhy(c.steps)
	for _, i := range h.leanList(leanness) {
		c.incidents = append(c.incidents, i.lean(leanness))
	}
	return &c
}

// leanList are the incidents to be saved, in the order in which they stand.
func (h *host) leanList(leanness int) []*incident {
	switch {
	case leanness >= 4:
		return nil
	case leanness < 3 || len(h.incidents) <= leanIncidents:
		return h.incidents
	}
	rank := func(i *incident) int {
		switch {
		case i.live() && i.critical:
			return 0
		case i.live():
			return 1
		}
		return 2
	}
	best := slices.SortedStableFunc(slices.Values(h.incidents), func(a, b *incident) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.opened, a.opened))
	})[:leanIncidents]
	return slices.DeleteFunc(slices.Clone(h.incidents), func(i *incident) bool { return !slices.Contains(best, i) })
}

func (i *incident) lean(leanness int) *incident {
	c := *i
	c.verdict, c.steps = "", slices.Clone(i.steps)
	withoutWhy(c.steps)
	if leanness >= 2 {
		c.dropped, c.steps, c.top, c.noStep = i.stepCounts(), nil, nil, nil
		c.netns = clip(c.netns, mostWord)
	}
	return &c
}

func withoutWhy(steps []step) {
	for k := range steps {
		steps[k].why = ""
	}
}
