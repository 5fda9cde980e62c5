package fleet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// world is a random fleet and what happens to it.
type world struct {
	r      *rand.Rand
	cfg    Config
	script []Event // in order of time
	end    time.Time
	// lateTops is true where addresses are told after the opening, listens where hosts that have no event for long count as
	// silent. Both make what a crash changes depend on when it comes.
	lateTops, listens bool
	now               time.Time
}

// newWorld makes up a fleet of a few sites whose hosts have incidents, each opened, updated, stepped and closed.
func newWorld(r *rand.Rand) *world {
	w := &world{r: r, end: start.Add(time.Hour), lateTops: r.IntN(2) == 0}
	w.listens = w.lateTops
	w.cfg = Config{
		GroupBy: []string{"site"}, UpdateEvery: time.Minute, StepsPerHour: []int{0, 3, 1000}[r.IntN(3)],
		Routes: []Route{
			{Name: "gva", Match: Match{Site: "s0"}, To: []string{"gva"}, Continue: true, Resolve: true},
			{Name: "crit", Match: Match{Severity: "critical"}, To: []string{"ops", "gva"}, Resolve: true,
				Escalate: []Escalation{{After: 10 * time.Minute, To: []string{"boss"}}}},
		},
	}
	for host := range 4 + r.IntN(20) {
		w.life(fmt.Sprintf("s%d", r.IntN(3)), fmt.Sprintf("h%d", host))
	}
	slices.SortStableFunc(w.script, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return w
}

func (w *world) fleet() *Fleet { return New(w.cfg) }

// life is what happens to one host.
func (w *world) life(site, host string) {
	at := start.Add(time.Duration(w.r.Int64N(int64(20 * time.Minute))))
	if w.r.IntN(2) == 0 {
		at = start.Add(time.Duration(w.r.Int64N(int64(3 * time.Second)))) // a storm at the start
	}
	for n := range 1 + w.r.IntN(3) {
		i := remediate.Incident{
			ID: fmt.Sprintf("%s-%s-%d", site, host, n), Severity: remediate.SeverityWarning, Verified: w.r.IntN(5) > 0,
			NetNS: remediate.NetNS{Name: "init"}, OpenedAt: at, Historical: w.r.IntN(12) == 0, Max: 65536,
		}
		if w.r.IntN(2) == 0 {
			i.Severity = remediate.SeverityCritical
		}
		if w.r.IntN(8) == 0 {
			i.ChainDrops, i.Severity = 5, remediate.SeverityCritical
		}
		who := []remediate.Talker{{Address: []string{"203.0.113.7", "203.0.113.8", host}[w.r.IntN(3)], Entries: 900}, {Address: "192.0.2.1", Entries: 9}}
		if !w.lateTops {
			i.Top = who
		}
		w.add(site, host, at, remediate.EventIncidentOpened, i)
		for range w.r.IntN(5) {
			at = at.Add(time.Duration(w.r.Int64N(int64(90 * time.Second))))
			i.Top = who
			i.Drops += w.r.Uint64N(100)
			if w.r.IntN(3) == 0 {
				i.Severity = remediate.SeverityCritical
			}
			w.add(site, host, at, remediate.EventIncidentUpdated, i)
			w.step(site, host, at, &i)
		}
		at = at.Add(time.Duration(w.r.Int64N(int64(5 * time.Minute))))
		closed := at
		i.ClosedAt = &closed
		w.add(site, host, at, remediate.EventIncidentClosed, i)
		at = at.Add(time.Duration(1 + w.r.Int64N(int64(5*time.Minute))))
	}
}

func (w *world) step(site, host string, at time.Time, i *remediate.Incident) {
	s := remediate.Step{ID: fmt.Sprint(i.ID, w.r.IntN(3)), IncidentID: i.ID, At: at, From: 1, To: 2, Reason: remediate.ReasonFull}
	switch w.r.IntN(6) {
	case 0, 1:
		w.add(site, host, at, remediate.EventStepApplied, s)
		s.Outcome = []remediate.Outcome{remediate.OutcomeEffective, remediate.OutcomeIneffective}[w.r.IntN(2)]
		w.add(site, host, at.Add(2*time.Second), remediate.EventStepConfirmed, s)
	case 2:
		s.Reason = remediate.ReasonObserveMode
		w.add(site, host, at, remediate.EventStepRefused, s)
	case 3:
		s.IncidentID, s.Reason = "", remediate.ReasonDecay
		w.add(site, host, at, remediate.EventStepApplied, s)
	case 4:
		s.Error = `a "disk" is full: ü`
		w.add(site, host, at, remediate.EventStepFailed, s)
	}
}

func (w *world) add(site, host string, at time.Time, typ remediate.EventType, data any) {
	w.script = append(w.script, Event{Site: site, Host: host, Version: "1.0", Event: remediate.Event{
		ID: fmt.Sprintf("%s/%s/%d", site, host, len(w.script)), Type: typ, Time: at, Data: data,
	}})
}

// someDoing is what people do.
func (w *world) someDoing(f *Fleet, now time.Time) {
	groups := f.Groups()
	switch w.r.IntN(6) {
	case 4:
		if len(groups) > 0 {
			_ = f.Resolve(groups[w.r.IntN(len(groups))].ID, "leo", now)
		}
	case 5:
		for h := range f.All() {
			f.Seen(HostSeen{Site: h.Site, Host: h.Host, At: now, Max: 1, Listed: w.r.IntN(4) == 0}, now)
		}
	case 0:
		if len(groups) > 0 {
			_ = f.Acknowledge(groups[w.r.IntN(len(groups))].ID, "mia", now)
		}
	case 1:
		_, _ = f.Silence(Silence{Host: fmt.Sprintf("h%d*", w.r.IntN(3)), Until: now.Add(5 * time.Minute), By: "leo"}, now)
	case 2:
		for _, p := range f.Due() {
			f.Delivered(p.ID, Delivery{At: now, Dead: w.r.IntN(4) == 0, Err: "x"}, now)
		}
	}
}
