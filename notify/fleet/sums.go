package fleet

import (
	"cmp"
	"maps"
	"slices"

	"github.com/ctwarden/ctwarden/remediate"
)

// sums is what the members of a group come to. It is never saved, only what members that were thrown out left behind.
type sums struct {
	// incidents counts all, open those that are open; hosts and openHosts count distinct hosts.
	incidents, open, hosts, openHosts int
	// silent counts hosts with open incidents that fell silent; unverified, critical and listed count open incidents, the
	// last those that say who fills the table.
	silent, unverified, critical, listed int
	drops, early                         uint64
	steps                                stepCounts
	noStep                               map[remediate.Reason]int
	sites                                map[*site]int
	// classes has the open hosts of each class, for routes.
	classes map[*class]int
	// talkers has the open incidents of each address that leads, and its entries there.
	talkers map[string]lead
}

// lead is on how many incidents an address leads, with how many entries in all.
type lead struct {
	incidents int
	entries   uint64
}

func newSums() sums {
	return sums{
		noStep: map[remediate.Reason]int{}, sites: map[*site]int{}, classes: map[*class]int{}, talkers: map[string]lead{},
	}
}

// count adds an incident, or takes it away for a sign of -1. first and firstOpen tell whether it is the only one of its host
// in the group, and the only open one.
func (s *sums) count(i *incident, sign int, first, firstOpen bool) {
	s.incidents += sign
	s.drops += uint64(sign) * (i.drops + i.chains)
	s.early += uint64(sign) * i.early
	s.steps.add(i.stepCounts(), sign)
	for _, why := range i.noStep {
		bump(s.noStep, why, sign)
	}
	if first {
		s.hosts += sign
		bump(s.sites, i.host.site, sign)
	}
	if i.closed {
		return
	}
	s.open += sign
	if !i.verified {
		s.unverified += sign
	}
	if i.critical {
		s.critical += sign
	}
	if len(i.top) > 0 {
		s.listed += sign
	}
	if firstOpen {
		s.countOpen(i.host, sign)
	}
	if who := i.talker(); who != "" {
		l := s.talkers[who]
		l.incidents += sign
		l.entries += uint64(sign) * i.leadEntries()
		if l.incidents <= 0 {
			delete(s.talkers, who)
		} else {
			s.talkers[who] = l
		}
	}
}

// countOpen adds a host that has an open incident, or is silent in a group of silent hosts.
func (s *sums) countOpen(h *host, sign int) {
	s.openHosts += sign
	bump(s.classes, h.class, sign)
	if h.silent {
		s.silent += sign
	}
}

// bump adds to a count and drops one that is zero.
func bump[K comparable](m map[K]int, k K, by int) {
	if n := m[k] + by; n != 0 {
		m[k] = n
	} else {
		delete(m, k)
	}
}

// base is what the incidents that were thrown out of an open group left behind. Their hosts have others in the group.
type base struct {
	Incidents int                      `json:"n,omitempty"`
	Drops     uint64                   `json:"d,omitempty"`
	Early     uint64                   `json:"e,omitempty"`
	Steps     stepCounts               `json:"s,omitzero"`
	NoStep    map[remediate.Reason]int `json:"w,omitempty"`
}

func (b *base) addGone(i *incident) {
	b.Incidents++
	b.Drops += i.drops + i.chains
	b.Early += i.early
	b.Steps.add(i.stepCounts(), 1)
	for _, why := range i.noStep {
		if b.NoStep == nil {
			b.NoStep = map[remediate.Reason]int{}
		}
		b.NoStep[why]++
	}
}

// top are the addresses that lead, the first with the most entries.
func (s *sums) top() []remediate.Talker {
	before := func(a, b remediate.Talker) int {
		return cmp.Or(cmp.Compare(b.Entries, a.Entries), cmp.Compare(a.Address, b.Address))
	}
	best := make([]remediate.Talker, 0, mostTop+1)
	for who, l := range s.talkers {
		t := remediate.Talker{Address: who, Entries: l.entries}
		if len(best) == mostTop && before(t, best[mostTop-1]) > 0 {
			continue
		}
		n, _ := slices.BinarySearchFunc(best, t, before)
		best = slices.Insert(best, n, t)
		best = best[:min(len(best), mostTop)]
	}
	return best
}

// summary are the steps of a group in the form that is shown.
func (g *group) stepSummary() StepSummary {
	c := g.sums.steps
	c.add(g.base.Steps, 1)
	out := StepSummary{
		Applied: c.Applied, Effective: c.Effective, Ineffective: c.Ineffective, Failed: c.Failed, Reverted: c.Reverted,
	}
	if len(g.sums.noStep)+len(g.base.NoStep) > 0 {
		out.Refused = maps.Clone(g.sums.noStep)
		for why, n := range g.base.NoStep {
			bump(out.Refused, why, n)
		}
		out.Refused = fewReasons(out.Refused)
	}
	return out
}
