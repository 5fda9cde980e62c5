package fleet

import (
	"cmp"
	"slices"

	"github.com/ctwarden/ctwarden/remediate"
)

// step is one step of a host. Times are in ns.
type step struct {
	key      uint64 // hash of its ID
	at       int64
	from, to uint64
	reason   remediate.Reason
	outcome  remediate.Outcome
	failed   bool
	reverted bool
	why      string // what went wrong with one that failed or was undone
}

// stepCounts are numbers of steps.
type stepCounts struct {
	Applied     int `json:"a,omitempty"`
	Effective   int `json:"e,omitempty"`
	Ineffective int `json:"i,omitempty"`
	Failed      int `json:"f,omitempty"`
	Reverted    int `json:"r,omitempty"`
}

func (c *stepCounts) add(o stepCounts, sign int) {
	c.Applied += sign * o.Applied
	c.Effective += sign * o.Effective
	c.Ineffective += sign * o.Ineffective
	c.Failed += sign * o.Failed
	c.Reverted += sign * o.Reverted
}

func (s *step) counts() stepCounts {
	var c stepCounts
	if s.failed {
		c.Failed = 1
		return c
	}
	c.Applied = 1
	switch {
	case s.outcome == remediate.OutcomeEffective:
		c.Effective = 1
	case s.outcome == remediate.OutcomeIneffective:
		c.Ineffective = 1
	}
	if s.reverted {
		c.Reverted = 1
	}
	return c
}

// stepCounts are those of all steps of the incident.
func (i *incident) stepCounts() stepCounts {
	c := i.dropped
	for k := range i.steps {
		c.add(i.steps[k].counts(), 1)
	}
	return c
}

// automatic tells whether ctwarden took the step by itself, so that it counts towards the budget.
func (s *step) automatic() bool {
	return !s.failed && s.reason != remediate.ReasonManual && s.reason != remediate.ReasonBoot
}

// book takes what an event says of a step into a list. It tells whether that changed anything, and whether the step is new
// and was applied; gone is the step that had to make room.
func book(list *[]step, typ remediate.EventType, s step) (changed, applied bool, gone *step) {
	for k := range *list {
		if old := &(*list)[k]; old.key == s.key {
			return old.merge(typ, s), false, nil
		}
	}
	s.note(typ, s.outcome)
	if len(*list) < mostSteps {
		*list = append(*list, s)
		return true, !s.failed, nil
	}
	if s.at < (*list)[0].at {
		return false, false, nil // it was listed and made room: an event that came again
	}
	first := (*list)[0]
	*list = append(slices.Delete(*list, 0, 1), s)
	return true, !s.failed, &first
}

// note sets what the type of event says. What was said once stays, so that an event that comes again changes nothing.
func (s *step) note(typ remediate.EventType, outcome remediate.Outcome) {
	switch typ {
	case remediate.EventStepFailed:
		s.failed = true
	case remediate.EventStepReverted:
		s.reverted = true
	}
	if s.outcome == "" || outcome == remediate.OutcomeIneffective {
		s.outcome = cmp.Or(outcome, s.outcome)
	}
}

// merge takes another event of the same step and tells whether it said anything new.
func (s *step) merge(typ remediate.EventType, o step) bool {
	before := *s
	s.note(typ, o.outcome)
	s.why = cmp.Or(s.why, o.why)
	return *s != before
}

// takeStep takes a step event.
func (f *Fleet) takeStep(h *host, ev *Event, d *remediate.Step, now int64) {
	s := step{
		key: hash64(cmp.Or(d.ID, ev.ID)), at: min(nanos(d.At), now), from: d.From, to: d.To, why: text(d.Error, mostVerdict),
		reason: remediate.Reason(text(string(d.Reason), mostWord)), outcome: remediate.Outcome(text(string(d.Outcome), mostWord)),
	}
	if ev.Type == remediate.EventStepReverted {
		s.from, s.to = s.to, s.from // it is told as what was undone
	}
	if s.at <= 0 {
		s.at = min(nanos(ev.Time), now)
	}
	if d.IncidentID == "" {
		f.takeLoneStep(h, ev.Type, s, now)
		return
	}
	id := boundID(d.IncidentID)
	i := h.find(id)
	if i == nil {
		if h.buried(id) {
			return
		}
		if h.folded > 0 {
			f.takeLoneStep(h, ev.Type, s, now) // it may be of an incident that is only counted
			return
		}
		i = f.newIncident(h, id, now)
	}
	if ev.Type == remediate.EventStepRefused {
		f.takeRefusal(i, s.reason, s.at, now)
		return
	}
	f.takeIncidentStep(i, ev.Type, s, now)
}

// takeLoneStep takes a step that belongs to no incident. A refusal of one is of no account to the fleet.
func (f *Fleet) takeLoneStep(h *host, typ remediate.EventType, s step, now int64) {
	if typ == remediate.EventStepRefused {
		return
	}
	changed, applied, _ := book(&h.steps, typ, s)
	if changed {
		f.touch(h)
	}
	if applied && s.automatic() {
		f.budget.note(s.at, now, f.cfg.StepsPerHour)
	}
}

func (f *Fleet) takeIncidentStep(i *incident, typ remediate.EventType, s step, now int64) {
	var changed, applied bool
	before := i.stepCounts()
	f.change(i, func() {
		var gone *step
		if changed, applied, gone = book(&i.steps, typ, s); gone != nil {
			i.dropped.add(gone.counts(), 1)
		}
	})
	if !changed {
		return
	}
	f.touch(i.host)
	if applied && s.automatic() {
		f.budget.note(s.at, now, f.cfg.StepsPerHour)
	}
	if g := i.group; g != nil {
		f.noteStep(g, i, typ, s, before)
		f.news(g, now)
	}
}

// takeRefusal takes the reason why no step was taken.
func (f *Fleet) takeRefusal(i *incident, why remediate.Reason, at, now int64) {
	if slices.Contains(i.noStep, why) || len(i.noStep) >= mostNoStep {
		return
	}
	f.change(i, func() { i.noStep = append(i.noStep, why) })
	f.touch(i.host)
	if g := i.group; g != nil {
		if milestone(g.sums.noStep[why]) {
			f.note(g, at, i.host, "no step on "+i.host.name+": "+textOf(why), false)
		}
		f.news(g, now)
	}
}

// textOf is a reason in words.
func textOf(why remediate.Reason) string { return cmp.Or(why.Text(), string(why)) }
