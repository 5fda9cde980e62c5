package simulate

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// play has a host read its table once a second from noon on, and returns what happened with the states that it sent.
func play(t *testing.T, o Options, fills, span time.Duration) (events []remediate.Event, states []state) {
	t.Helper()
	h := newHost(7, 3, o, noon)
	h.table.fills = noon.Add(fills)
	for now := noon; now.Before(noon.Add(span)); now = now.Add(time.Second) {
		events = append(events, h.look(now)...)
		body, err := h.share(now)
		if err != nil {
			t.Fatal(err)
		}
		if body == nil {
			continue
		}
		var s state
		if err := json.Unmarshal(body, &s); err != nil {
			t.Fatal(err)
		}
		states = append(states, s)
	}
	return events, states
}

func TestLifeOfAHost(t *testing.T) {
	events, states := play(t, Options{Hosts: 9, Sites: 3, Lasts: 10 * time.Second, Version: "v1"}, 5*time.Second, time.Minute)
	var types []remediate.EventType
	ids := map[string]bool{}
	for _, ev := range events {
		types = append(types, ev.Type)
		ids[ev.ID] = true
		if _, err := notify.Encode(notify.Identity{Host: "sim000007.example", Site: "sim-01", Version: "v1"}, ev); err != nil {
			t.Errorf("%s: %v", ev.Type, err)
		}
	}
	want := []remediate.EventType{
		remediate.EventIncidentOpened, remediate.EventStepApplied, remediate.EventStepConfirmed, remediate.EventIncidentUpdated,
		remediate.EventIncidentClosed,
	}
	if !slices.Equal(types, want) || len(ids) != len(want) {
		t.Fatalf("events %q with %d ids, want %q", types, len(ids), want)
	}
	opened, step, closed := events[0].Data.(remediate.Incident), events[2].Data.(remediate.Step), events[4].Data.(remediate.Incident)
	if opened.Severity != remediate.SeverityCritical || !opened.Verified || opened.Drops == 0 || !opened.OpenedAt.Equal(noon.Add(5*time.Second)) {
		t.Errorf("opened: %+v", opened)
	}
	if step.Outcome != remediate.OutcomeEffective || step.From != limit || step.To <= limit || step.IncidentID != opened.ID {
		t.Errorf("step: %+v", step)
	}
	if closed.ID != opened.ID || closed.ClosedAt == nil || closed.ClosedAt.Before(noon.Add(15*time.Second)) {
		t.Errorf("closed: %+v", closed)
	}
	if n := len(states); n < 3 || n > 8 {
		t.Errorf("%d states in a minute", n)
	}
	fullest := slices.MaxFunc(states, func(a, b state) int { return int(a.NetNS[0].Count) - int(b.NetNS[0].Count) })
	if fullest.Site != "sim-01" || fullest.Host != "sim000007.example" || fullest.NetNS[0].Counters.Drop == 0 || len(fullest.Incidents) != 1 {
		t.Errorf("the state in trouble: %+v", fullest)
	}
	if last := states[len(states)-1]; last.Limits.Max != step.To || len(last.Incidents) != 0 || len(last.Steps) != 1 {
		t.Errorf("the last state: %+v", last)
	}
}

// TestRunsDiffer makes sure that a second simulation is not taken for the first one's events come again.
func TestRunsDiffer(t *testing.T) {
	id := func(at time.Time) string { return newHost(7, 3, Options{}, at).hello(at).ID }
	if a, b := id(noon), id(noon.Add(time.Second)); a == b {
		t.Errorf("both have the id %s", a)
	}
}

func TestOptions(t *testing.T) {
	good := Options{Hosts: 10, Sites: 2, Connections: 3, Lasts: time.Second}
	for _, c := range []struct {
		name   string
		change func(*Options)
		ok     bool
	}{
		{"good", func(*Options) {}, true},
		{"a connection each", func(o *Options) { o.Connections = 10 }, true},
		{"no hosts", func(o *Options) { o.Hosts = 0 }, false},
		{"more sites than hosts", func(o *Options) { o.Sites = 11 }, false},
		{"more connections than hosts", func(o *Options) { o.Connections = 11 }, false},
		{"negative time", func(o *Options) { o.Within = -1 }, false},
		{"no quiet time", func(o *Options) { o.Lasts = 0 }, false},
		{"negative rate", func(o *Options) { o.Rate = -1 }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := good
			c.change(&o)
			if err := o.Check(); (err == nil) != c.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}
