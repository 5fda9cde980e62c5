package agent

import (
	"cmp"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// The bounds of what people are told.
const (
	// updateFirst and updateLast are the least times between two updates of a trouble in which nothing turned worse: twice
	// as long each time, from the one to the other.
	updateFirst = 5 * time.Minute
	updateLast  = time.Hour
	// troubleSteps is how many step events of a trouble are kept for the text, the last ones.
	troubleSteps = 20
)

// trouble is what this host has that people are told of: all incidents that are open at the same time. The limit is one
// for all namespaces, so a host that hits it in a hundred of them is one page. It is saved with the events it came of.
type trouble struct {
	Key      string             `json:"key"` // the first incident's id
	Since    time.Time          `json:"since"`
	Severity remediate.Severity `json:"severity"` // the worst so far
	// Refused and ThrownOut are those of its incidents that are closed; Last is the one that was closed last.
	Refused   uint64              `json:"refused,omitempty"`
	ThrownOut uint64              `json:"thrown_out,omitempty"`
	Last      *remediate.Incident `json:"last,omitempty"`
	Steps     []troubleStep       `json:"steps,omitempty"`
	// Gap is the least time between two updates now, and Next when the next one may be.
	Gap  time.Duration `json:"gap"`
	Next time.Time     `json:"next"`

	say sayWhat // what the turn of the loop at hand gives to say
}

// troubleStep is a step event in a form that can be read back.
type troubleStep struct {
	ID   string              `json:"id"`
	Type remediate.EventType `json:"type"`
	Time time.Time           `json:"time"`
	Step remediate.Step      `json:"step"`
}

// sayWhat is said at the end of the loop's turn, when the steps that were taken at once are known.
type sayWhat struct {
	id     string // of the event that it is said on account of; empty: nothing is said
	at     time.Time
	urgent bool // also where an update was told a short while ago
	over   bool
}

// take folds one event in.
func (p *pager) take(ev remediate.Event) {
	switch d := ev.Data.(type) {
	case remediate.Incident:
		if !d.Historical {
			p.takeIncident(ev, d)
		}
	case remediate.Step:
		p.takeStep(ev, d)
	}
}

func (p *pager) takeIncident(ev remediate.Event, in remediate.Incident) {
	t := p.st.Trouble
	closed := ev.Type == remediate.EventIncidentClosed
	if t == nil {
		if closed {
			return // nobody was told of it
		}
		t = &trouble{Key: in.ID, Since: in.OpenedAt, Gap: updateFirst}
		p.st.Trouble = t
	}
	p.unsaved = true
	worse := in.Severity == remediate.SeverityCritical && t.Severity != in.Severity
	if worse || t.Severity == "" {
		t.Severity, t.Gap = in.Severity, updateFirst
	}
	if closed {
		t.Refused, t.ThrownOut = t.Refused+refused(in), t.ThrownOut+in.EarlyDrops
		last := in
		last.LimitHitBy = nil
		t.Last = &last
	}
	t.mark(ev, worse)
	t.say.over = closed
}

// takeStep keeps a step for the text. One that is applied is told with its outcome, which follows within seconds.
func (p *pager) takeStep(ev remediate.Event, s remediate.Step) {
	t := p.st.Trouble
	if t == nil || s.IncidentID == "" {
		return
	}
	t.Steps = append(t.Steps, troubleStep{ev.ID, ev.Type, ev.Time, s})
	t.Steps = t.Steps[max(len(t.Steps)-troubleSteps, 0):]
	p.unsaved = true
	if ev.Type != remediate.EventStepApplied {
		t.mark(ev, true)
	}
}

func (t *trouble) mark(ev remediate.Event, urgent bool) {
	if t.say.id == "" {
		t.say.id = ev.ID
	}
	t.say.at, t.say.urgent = ev.Time, t.say.urgent || urgent
}

// refused is how many connections an incident cost on their way in.
func refused(in remediate.Incident) uint64 { return in.Drops + in.ChainDrops }

// tell says what the turn gave to say. open are the incidents that are open now.
func (p *pager) tell(open []remediate.Incident) {
	t := p.st.Trouble
	if t == nil || t.say.id == "" {
		return
	}
	open = slices.DeleteFunc(slices.Clone(open), func(in remediate.Incident) bool { return in.Historical })
	say := t.say
	t.say = sayWhat{}
	over := say.over && len(open) == 0
	due := say.urgent || !say.at.Before(t.Next)
	n, ok := p.notification(t, say, open, over)
	if ok {
		p.tellEach(n, t.Severity, over, due)
	}
	switch {
	case over:
		p.st.Trouble = nil
		for _, s := range p.st.Senders {
			s.Told = false
		}
	case due:
		if !t.Next.IsZero() && !say.urgent {
			t.Gap = min(2*t.Gap, updateLast)
		}
		t.Next = say.at.Add(t.Gap)
	}
	p.unsaved = true
}

// end closes a trouble that nothing is left of: the run before did not come to save its end.
func (p *pager) end(now time.Time) {
	if t := p.st.Trouble; t != nil && t.say.id == "" {
		t.say = sayWhat{id: t.Key + "-end", at: now, urgent: true, over: true}
	}
}

// tellEach gives each sender what is due to it: the first page where it was told of nothing, or what became of it.
func (p *pager) tellEach(n oncall.Notification, severity remediate.Severity, over, due bool) {
	for _, s := range p.senders {
		st := p.st.Senders[s.name]
		switch {
		case st.Told && over:
			n.Action = oncall.ActionResolve
		case over:
			continue
		case st.Told && due:
			n.Action = oncall.ActionUpdate
		case !st.Told && (severity == remediate.SeverityCritical || s.severity == severity):
			n.Action = oncall.ActionTrigger
			st.Told = true
		default:
			continue
		}
		p.submit(s, n)
	}
}

// notification is the trouble in the form that senders take: its worst incident, with the numbers of all.
func (p *pager) notification(t *trouble, say sayWhat, open []remediate.Incident, over bool) (oncall.Notification, bool) {
	ev := remediate.Event{ID: say.id, Time: say.at, Type: remediate.EventIncidentUpdated}
	sumRefused, sumThrownOut := t.Refused, t.ThrownOut
	switch {
	case len(open) > 0:
		ev.Data = slices.MaxFunc(open, lessBad)
	case t.Last != nil:
		ev.Data = *t.Last
	default: // it came to nothing in the turn in which it began, or the run before did not come to save its end
		ev.Data = remediate.Incident{ID: t.Key, Severity: t.Severity, OpenedAt: t.Since}
	}
	for _, in := range open {
		sumRefused, sumThrownOut = sumRefused+refused(in), sumThrownOut+in.EarlyDrops
	}
	if over {
		ev.Type = remediate.EventIncidentClosed
	}
	var steps []remediate.Event
	for _, s := range t.Steps {
		steps = append(steps, remediate.Event{ID: s.ID, Type: s.Type, Time: s.Time, Data: s.Step})
	}
	n, ok := oncall.FromIncident(p.site, p.host, ev, steps)
	n.Key, n.Since, n.Severity, n.Refused, n.ThrownOut = t.Key, t.Since, string(t.Severity), sumRefused, sumThrownOut
	return n, ok
}

// lessBad orders incidents for a person who can be told of one.
func lessBad(x, y remediate.Incident) int {
	critical := func(in remediate.Incident) int {
		if in.Severity == remediate.SeverityCritical {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(critical(x), critical(y)), cmp.Compare(refused(x)+x.EarlyDrops, refused(y)+y.EarlyDrops),
		cmp.Compare(x.Count, y.Count))
}
