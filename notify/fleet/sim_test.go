package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// start is when every simulation begins: a Wednesday.
var start = time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)

// sim feeds a fleet and keeps what went out.
type sim struct {
	t   *testing.T
	f   *Fleet
	now time.Time
	// sent are all pages in the order in which they went out, seq numbers the events.
	sent []Page
	seq  int
	// down is true while pages that are due are not sent.
	down bool
}

// basic is the configuration of most tests: everything that matches to one sender.
func basic() Config {
	return Config{GroupBy: []string{"site"}, Routes: []Route{{Name: "all", To: []string{"ops"}, Resolve: true}}}
}

func newSim(t *testing.T, cfg Config) *sim { return &sim{t: t, f: New(cfg), now: start} }

// what changes an incident before it is told.
type what func(*remediate.Incident)

func critical(i *remediate.Incident)   { i.Severity = remediate.SeverityCritical }
func warning(i *remediate.Incident)    { i.Severity = remediate.SeverityWarning }
func unverified(i *remediate.Incident) { i.Verified = false }
func old(i *remediate.Incident)        { i.Historical = true }

func drops(n uint64) what  { return func(i *remediate.Incident) { i.Drops = n } }
func chains(n uint64) what { return func(i *remediate.Incident) { i.ChainDrops = n } }

func opened(at time.Time) what { return func(i *remediate.Incident) { i.OpenedAt = at } }

// top is who fills a table that holds nothing else.
func top(pairs ...any) what {
	return func(i *remediate.Incident) {
		i.Top, i.Count = nil, 0
		for k := 0; k < len(pairs); k += 2 {
			who := remediate.Talker{Address: pairs[k].(string), Entries: uint64(pairs[k+1].(int))}
			i.Top, i.Count = append(i.Top, who), i.Count+who.Entries
		}
	}
}

// of is how many entries the table has, those who are not listed included.
func of(entries uint64) what { return func(i *remediate.Incident) { i.Count = entries } }

func all(how ...what) what {
	return func(i *remediate.Incident) {
		for _, h := range how {
			h(i)
		}
	}
}

// incidentEvent is an event of the incident "i-<host>" of a host "<site>/<name>"; a name behind it tells several apart.
func (s *sim) incidentEvent(typ remediate.EventType, where string, how ...what) Event {
	site, name, id := split(where)
	i := remediate.Incident{
		ID: id, Severity: remediate.SeverityCritical, Verified: true, NetNS: remediate.NetNS{Inode: 1, Name: "init"}, OpenedAt: s.now,
		Count: 65000, PeakCount: 65536, Max: 65536,
	}
	for _, h := range how {
		h(&i)
	}
	if typ == remediate.EventIncidentClosed {
		at := s.now
		i.ClosedAt = &at
	}
	return s.event(site, name, typ, i)
}

// split takes "<site>/<host>" or "<site>/<host>/<incident>" apart.
func split(where string) (site, name, id string) {
	parts := strings.Split(where, "/")
	site, name = parts[0], parts[1]
	id = "i-" + name
	if len(parts) > 2 {
		id = parts[2]
	}
	return site, name, id
}

func (s *sim) event(site, name string, typ remediate.EventType, data any) Event {
	s.seq++
	return Event{Site: site, Host: name, Version: "1.0", Event: remediate.Event{
		ID: fmt.Sprintf("e%d", s.seq), Type: typ, Time: s.now, Data: data,
	}}
}

func (s *sim) open(where string, how ...what) {
	s.f.Take(s.incidentEvent(remediate.EventIncidentOpened, where, how...), s.now)
}

func (s *sim) update(where string, how ...what) {
	s.f.Take(s.incidentEvent(remediate.EventIncidentUpdated, where, how...), s.now)
}

func (s *sim) close(where string, how ...what) {
	s.f.Take(s.incidentEvent(remediate.EventIncidentClosed, where, how...), s.now)
}

// step tells of a step of the incident of a host.
func (s *sim) step(where string, typ remediate.EventType, id string, reason remediate.Reason, outcome remediate.Outcome) {
	site, name, incident := split(where)
	s.f.Take(s.event(site, name, typ, remediate.Step{
		ID: id, IncidentID: incident, At: s.now, From: 65536, To: 131072, Reason: reason, Outcome: outcome,
	}), s.now)
}

// pass lets time go by. The fleet is called when it asks to be.
func (s *sim) pass(d time.Duration) {
	s.t.Helper()
	end := s.now.Add(d)
	for {
		next := s.f.Tick(s.now)
		s.send()
		if !next.IsZero() && !next.After(s.now) {
			s.t.Fatalf("at %v the fleet asks to be called at %v", s.now, next)
		}
		if next.IsZero() || next.After(end) {
			break
		}
		s.now = next
	}
	s.now = end
	s.f.Tick(s.now)
	s.send()
}

// send delivers what is due.
func (s *sim) send() {
	if s.down {
		return
	}
	for _, p := range s.f.Due() {
		s.sent = append(s.sent, p)
		s.f.Delivered(p.ID, Delivery{At: s.now, Attempts: 1}, s.now)
	}
}

// pages are what went out since the last call, as "action sender".
func (s *sim) pages() string {
	var out []string
	for _, p := range s.sent {
		out = append(out, string(p.Action)+" "+p.To)
	}
	s.sent = nil
	return strings.Join(out, ", ")
}

// want checks what went out since the last call.
func (s *sim) want(pages string) {
	s.t.Helper()
	if got := s.pages(); got != pages {
		s.t.Errorf("%v after the start: sent %q, want %q", s.now.Sub(start), got, pages)
	}
}

// last is the page that went out last.
func (s *sim) last() Page {
	s.t.Helper()
	if len(s.sent) == 0 {
		s.t.Fatal("nothing went out")
	}
	return s.sent[len(s.sent)-1]
}

// groups are the groups, as "cause by hosts" with what else is worth it.
func (s *sim) groups() []string {
	var out []string
	for _, g := range s.f.Groups() {
		if g.MergedInto != "" {
			continue
		}
		state := "open"
		if !g.ClosedAt.IsZero() {
			state = "closed"
		}
		by := strings.Join(sortedValues(g.By), "+")
		if g.Talker != "" {
			by = strings.TrimPrefix(by+"+"+g.Talker, "+")
		}
		out = append(out, fmt.Sprintf("%s %s %d/%d %s", g.Cause, by, g.OpenHosts, g.Hosts, state))
	}
	slices.Sort(out)
	return out
}

func sortedValues(m map[string]string) []string {
	var out []string
	for _, v := range m {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

func (s *sim) wantGroups(want ...string) {
	s.t.Helper()
	slices.Sort(want)
	if got := s.groups(); !slices.Equal(got, want) {
		s.t.Errorf("groups are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// only is the one open group.
func (s *sim) only() Group {
	s.t.Helper()
	var open []Group
	for _, g := range s.f.Groups() {
		if g.ClosedAt.IsZero() {
			open = append(open, g)
		}
	}
	if len(open) != 1 {
		s.t.Fatalf("%d groups are open, want 1", len(open))
	}
	return open[0]
}

func (g Group) says(text string) bool {
	return slices.ContainsFunc(g.Timeline, func(e Entry) bool { return strings.Contains(e.Text, text) })
}
