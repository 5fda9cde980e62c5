package web

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// fakeHub is the one fake of the hub: fakeFleet, fakeIncidents and itself are all that a Handler asks for.
type fakeHub struct {
	fleet     fakeFleet
	incidents fakeIncidents

	mu     sync.Mutex
	status Status
	asked  []Action
	err    error
}

func newFakeHub() *fakeHub {
	h := &fakeHub{status: Status{Version: "1.2.3", Hub: "hub-a", Leader: "hub-a", Leading: true, Connected: true, Loaded: true}}
	h.fleet.index = map[HostRef]int{}
	return h
}

func (h *fakeHub) Status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status
}

func (h *fakeHub) set(change func(*Status)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.status)
}

// Do acknowledges, and remembers what it was asked for.
func (h *fakeHub) Do(_ context.Context, a Action) (Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, a)
	if h.err != nil {
		return Result{}, h.err
	}
	switch a.Verb {
	case VerbAcknowledge:
		return Result{Text: "acknowledged"}, h.incidents.change(a.Incident, func(g *fleet.Group) { g.AckBy, g.AckAt = a.By, time.Now() })
	case VerbResolve:
		return Result{Text: "resolved"}, h.incidents.change(a.Incident, func(g *fleet.Group) { g.ClosedAt = time.Now() })
	case VerbSilence:
		a.Silence.ID = "s1"
		h.status.Silences = append(h.status.Silences, a.Silence)
		return Result{ID: "s1"}, nil
	case VerbHold:
		h.status.Holds = append(h.status.Holds, Hold{Site: a.Site, Host: a.Host, Since: time.Now(), Until: a.Until, By: a.By, Why: a.Why, Reached: 3, Done: 3})
		return Result{Reached: 3, Done: 3, Text: "3 hosts hold"}, nil
	}
	return Result{}, nil
}

func (h *fakeHub) actions() []Action {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.asked)
}

// fakeFleet has rows with the revision of their last change.
type fakeFleet struct {
	mu       sync.Mutex
	revision uint64
	rows     []Row
	changed  []uint64
	index    map[HostRef]int
}

func (f *fakeFleet) Revision() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision
}

func (f *fakeFleet) Rows(since uint64, take func(Row)) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.rows {
		if f.changed[i] > since {
			take(f.rows[i])
		}
	}
	return f.revision
}

// put takes rows as they are from now on.
func (f *fakeFleet) put(rows ...Row) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision++
	for _, r := range rows {
		key := HostRef{r.Site, r.Host}
		i, known := f.index[key]
		if !known {
			i = len(f.rows)
			f.index[key], f.rows, f.changed = i, append(f.rows, r), append(f.changed, 0)
		}
		f.rows[i], f.changed[i] = r, f.revision
	}
}

func (f *fakeFleet) row(i int) Row {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rows[i]
}

// Host makes up an hour and a half in which the host filled up and was given more room.
func (f *fakeFleet) Host(_ context.Context, site, host string) (HostDetail, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, known := f.index[HostRef{site, host}]
	if !known {
		return HostDetail{}, fmt.Errorf("%s of %s: %w", host, site, ErrNotFound)
	}
	d := HostDetail{Row: f.rows[i], Status: json.RawMessage(fakeStatus)}
	end := time.Now().Truncate(time.Second)
	random := rand.New(rand.NewPCG(uint64(i), 1))
	level, limit := 38000.0, uint64(65536)
	for m := range 90 {
		p := Point{At: end.Add(time.Duration(m-89) * time.Minute)}
		level += 250 * (random.Float64() - 0.45)
		if m > 55 {
			level += 2600 * random.Float64()
		}
		if uint64(level) > limit {
			p.Refused, limit = uint64(400+1500*random.Float64()), limit*2
			d.Steps = append(d.Steps, StepPoint{At: p.At, From: limit / 2, To: limit, Reason: remediate.ReasonFull, Result: "applied"})
		}
		p.Count, p.Max = min(uint64(level), limit), limit
		d.Points = append(d.Points, p)
	}
	last := d.Points[89]
	d.Count, d.Max = last.Count, last.Max
	d.Incidents = []fleet.HostIncident{{
		ID: "i1", Group: "g1", NetNS: "init", Severity: remediate.SeverityCritical, Cause: oncall.CauseFull, Verified: true,
		OpenedAt: end.Add(-25 * time.Minute), Drops: 1874, EarlyDrops: 220, Count: last.Count, Peak: last.Count, Max: last.Max,
		Top: fakeTop, Verdict: "one source holds 41 % of the entries, 96 % of them unreplied",
	}}
	return d, nil
}

// fakeIncidents are the groups.
type fakeIncidents struct {
	mu       sync.Mutex
	revision uint64
	groups   []fleet.Group
}

func (f *fakeIncidents) Revision() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision
}

func (f *fakeIncidents) Groups() []fleet.Group {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.groups)
}

func (f *fakeIncidents) Group(_ context.Context, id string) (fleet.Group, error) {
	for _, g := range f.Groups() {
		if g.ID == id {
			return g, nil
		}
	}
	return fleet.Group{}, ErrNotFound
}

func (f *fakeIncidents) put(groups ...fleet.Group) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision++
	f.groups = append(f.groups, groups...)
}

func (f *fakeIncidents) change(id string, change func(*fleet.Group)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.groups {
		if f.groups[i].ID == id {
			f.revision++
			change(&f.groups[i])
			return nil
		}
	}
	return ErrNotFound
}
