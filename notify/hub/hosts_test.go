package hub

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub/web"
	"github.com/ctwarden/ctwarden/remediate"
)

func changed(h *hosts, since uint64) (names []string, revision uint64) {
	revision = h.since(since, func(r web.Row) { names = append(names, r.Host) })
	return names, revision
}

func TestRowsComeByRevision(t *testing.T) {
	h := newHosts()
	at := time.Unix(1_700_000_000, 0)
	for _, name := range []string{"a", "b", "c"} {
		h.see(hostState{Site: "gva", Host: name}, at)
	}
	names, first := changed(h, 0)
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("all: %q", names)
	}
	h.see(hostState{Site: "gva", Host: "a"}, at)
	h.mark("gva", "c", remediate.SeverityCritical, false, false, nil)
	h.mark("gva", "b", "", false, false, nil) // says nothing new
	names, second := changed(h, first)
	if !slices.Equal(names, []string{"a", "c"}) {
		t.Errorf("changed: %q", names)
	}
	if names, _ = changed(h, second); names != nil {
		t.Errorf("nothing changed: %q", names)
	}
	h.mark("gva", "c", "", true, false, []string{"rack=r1"})
	h.see(hostState{Site: "gva", Host: "b"}, at)
	if names, _ = changed(h, second); !slices.Equal(names, []string{"c", "b"}) {
		t.Errorf("changed: %q", names)
	}
}

func TestRefusedIsWhatCameSince(t *testing.T) {
	h := newHosts()
	at := time.Unix(1_700_000_000, 0)
	for i, s := range []hostState{
		{Drops: 100, Count: 1}, {Drops: 150, EarlyDrops: 5, Count: 2}, // 55 more
		{Drops: 3, Count: 3}, // the kernel counts anew
		{Drops: 4, Count: 4},
	} {
		s.Site, s.Host, s.Max = "gva", "a", 10
		h.see(s, at.Add(time.Duration(i)*time.Minute))
	}
	d, ok := h.detail("gva", "a")
	if !ok || len(d.Points) != 4 {
		t.Fatalf("got %+v", d)
	}
	for i, want := range []uint64{0, 55, 0, 1} {
		if p := d.Points[i]; p.Refused != want || p.Count != uint64(i+1) || p.Max != 10 || !p.At.Equal(at.Add(time.Duration(i)*time.Minute)) {
			t.Errorf("point %d is %+v, want %d refused", i, p, want)
		}
	}
}

func TestRingKeepsTheLast(t *testing.T) {
	for _, c := range []struct {
		name          string
		points, every int // seconds apart
		want          int
		first, last   uint32
	}{
		{"few", 5, 60, 5, 0, 240},
		{"more than there is room for", 200, 60, ringPoints, 60 * (200 - ringPoints), 60 * 199},
		{"many within a minute are one", 120, 5, 12, 0, 595},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r ring
			for i := range c.points {
				r.add(point{at: uint32(i * c.every), refused: 1})
			}
			got := r.points()
			if len(got) != c.want || uint32(got[0].At.Unix()) != c.first || uint32(got[len(got)-1].At.Unix()) != c.last {
				t.Errorf("%d points from %d to %d", len(got), got[0].At.Unix(), got[len(got)-1].At.Unix())
			}
			sum := uint64(0)
			for i, p := range got {
				sum += p.Refused
				if i > 0 && !p.At.After(got[i-1].At) {
					t.Errorf("point %d at %v is not behind %v", i, p.At, got[i-1].At)
				}
			}
			if len(got) < ringPoints && sum != uint64(c.points) {
				t.Errorf("%d refused, want %d", sum, c.points)
			}
		})
	}
}

func TestHostStateIsTheKeysOwn(t *testing.T) {
	held := &notify.FleetState{Rev: 7, Hold: &remediate.Hold{By: "ada", Until: time.Unix(5, 0)}, Mode: "remediate", Awaits: true}
	for _, c := range []struct {
		name, key string
		body      []byte
		want      string // in the error; empty: it is read
	}{
		{"its own", "gva.a", stateOf("gva", "a", 9, held), ""},
		{"another's name", "gva.a", stateOf("gva", "b", 9, nil), "it is that of"},
		{"another site", "gva.a", stateOf("zrh", "a", 9, nil), "it is that of"},
		{"a dot in the name", "gva.a_2eb", stateOf("gva", "a.b", 9, nil), ""},
		{"no JSON", "gva.a", []byte("x"), "invalid"},
		{"empty", "gva.a", nil, "unexpected end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := readHostState(c.key, c.body)
			if c.want != "" {
				if !contains(err, c.want) {
					t.Errorf("got %+v, %v", s, err)
				}
				return
			}
			if err != nil || s.Count != 9 || s.Max != 262144 || s.refused() != 8 || s.Mode != remediate.ModeRemediate {
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
	s, err := readHostState("gva.a", stateOf("gva", "a", 9, held))
	want := fleetState{Known: true, Awaits: true, Hold: true, Rev: 7, HoldUntil: time.Unix(5, 0).UTC(), Mode: remediate.ModeRemediate}
	if err != nil || s.Fleet != want {
		t.Errorf("got %+v, %v", s.Fleet, err)
	}
}

// TestHostStateListsItsIncidents: what a state says is open is what its host's events call it, in the agent's own form.
func TestHostStateListsItsIncidents(t *testing.T) {
	open := []remediate.Incident{{ID: "inc-1", Severity: remediate.SeverityWarning}, {ID: "inc-2"}}
	for _, c := range []struct {
		name   string
		list   any
		ids    []string
		listed bool
	}{
		{"two", open, []string{"inc-1", "inc-2"}, true},
		{"none", open[:0], nil, true},
		{"no list", nil, nil, false},
		{"without names", []any{map[string]any{"severity": "critical"}}, []string{""}, false},
		{"as many as may be", make([]remediate.Incident, mostListed), make([]string, mostListed), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := readHostState("gva.a", listing(t, "gva", "a", 9, c.list))
			if err != nil || !slices.Equal(s.Incidents, c.ids) || s.Listed != c.listed {
				t.Errorf("got %q, listed %v, %v", s.Incidents, s.Listed, err)
			}
		})
	}
}

// listing is a host's state with its open incidents.
func listing(t *testing.T, site, host string, count uint64, list any) []byte {
	t.Helper()
	return stateWith(t, site, host, count, "incidents", list)
}

// stateWith is a host's state with a field that has another value.
func stateWith(t *testing.T, site, host string, count uint64, field string, value any) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(stateOf(site, host, count, nil), &doc); err != nil {
		t.Fatal(err)
	}
	doc[field] = value
	body, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestIncidentLastsWhileItIsListed: an incident of which no event tells that it is over lasts while its host's states list
// it, and ends when two of them do not.
func TestIncidentLastsWhileItIsListed(t *testing.T) {
	_, nc, _ := newLab(t)
	h := startHub(t, "hub", nc, Settings{Fleet: fleet.Config{GroupBy: []string{fleet.GroupBySite}, GroupWait: 100 * time.Millisecond}})
	leads(t, h)
	publish(t, nc, began("gva", "a", 1))
	incidents := pageIncidents{h.Hub}
	hasOpen := func() bool { g := incidents.Groups(); return len(g) == 1 && g[0].OpenHosts == 1 }
	testhost.Eventually(t, "it is known", hasOpen)
	state := func(count uint64, list any) {
		t.Helper()
		pause(t.Context(), 150*time.Millisecond) // states count that came later than the group's wait
		putState(t, nc, "gva", "a", listing(t, "gva", "a", count, list))
		testhost.Eventually(t, "the hub has the state", func() bool {
			d, ok := h.hosts.detail("gva", "a")
			return ok && d.Count == count
		})
	}
	for count := range uint64(4) {
		state(10+count, []remediate.Incident{{ID: "inc-gva-a-1"}})
	}
	pause(t.Context(), 500*time.Millisecond)
	if !hasOpen() {
		t.Fatalf("its states list it, and the hub shows %+v", incidents.Groups())
	}
	state(20, []remediate.Incident{})
	state(21, []remediate.Incident{})
	testhost.Eventually(t, "it has ended", func() bool { g := incidents.Groups(); return len(g) == 1 && g[0].OpenHosts == 0 })
}

func FuzzHostState(f *testing.F) {
	f.Add("gva.a", stateOf("gva", "a", 9, &notify.FleetState{Rev: 1}))
	f.Add("gva.a", []byte(`{"host":"a","site":"gva","netns":[{"count":18446744073709551615,"counters":{"drop":-1}}]}`))
	f.Fuzz(func(t *testing.T, key string, body []byte) {
		s, err := readHostState(key, body)
		if err == nil && notify.HostKey(s.Site, s.Host) != key {
			t.Errorf("key %q gave %+v", key, s)
		}
		h := newHosts()
		if err == nil {
			h.see(s, time.Unix(1, 0))
			h.see(s, time.Unix(90, 0))
		}
	})
}

// TestHundredThousandRows bounds the memory that the rows take.
func TestHundredThousandRows(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	const n = 100_000
	h := newHosts()
	per := testing.AllocsPerRun(1, func() {
		h = newHosts()
		for i := range n {
			h.see(hostState{Site: fmt.Sprint("site", i%100), Host: fmt.Sprint("host", i), Version: "v1.2.3", Max: 10}, time.Unix(int64(i), 0))
		}
	}) / n
	if per > 12 {
		t.Errorf("%.1f allocations a host", per)
	}
	if len(h.byKey) != n || len(h.words) > 200 {
		t.Errorf("%d rows, %d words", len(h.byKey), len(h.words))
	}
}

// TestForgottenHostsLeaveTheBoard: the row of a host that the fleet has forgotten goes, which readers are told, and comes back
// with the host.
func TestForgottenHostsLeaveTheBoard(t *testing.T) {
	h := newHosts()
	at := time.Unix(1_700_000_000, 0)
	for _, name := range []string{"a", "b", "c", "d"} {
		h.see(hostState{Site: "gva", Host: name}, at)
	}
	h.mark("gva", "events", "", true, false, nil) // one without a state
	h.listened(goneAfter)
	now := at.Add(goneAfter)
	h.see(hostState{Site: "gva", Host: "d"}, now) // well, and not known to a hub that stands by
	_, before := changed(h, 0)
	known := func(_, host string) bool { return host == "b" }
	h.sweep(known)
	gone := map[string]bool{}
	after := h.since(before, func(r web.Row) { gone[r.Host] = r.Gone })
	if len(gone) != 3 || !gone["a"] || !gone["c"] || !gone["events"] {
		t.Errorf("gone are %v", gone)
	}
	if _, ok := h.detail("gva", "a"); ok {
		t.Error("it is still shown by itself")
	}
	h.see(hostState{Site: "gva", Host: "a", Count: 7}, now)
	back := map[string]uint64{}
	h.since(after, func(r web.Row) {
		if !r.Gone {
			back[r.Host] = r.Count
		}
	})
	if len(back) != 1 || back["a"] != 7 {
		t.Errorf("back are %v", back)
	}
	h.sweep(known)
	if len(h.byKey) != 3 {
		t.Errorf("%d rows are kept, want those of a, b and d", len(h.byKey))
	}
	names, _ := changed(h, 0)
	slices.Sort(names)
	if !slices.Equal(names, []string{"a", "b", "d"}) {
		t.Errorf("listed are %q", names)
	}
}

// TestCutOffHubKeepsItsHosts: a hub that heard nothing for longer than goneAfter takes no host off its board for that, since
// it knows those that are well from their states alone.
func TestCutOffHubKeepsItsHosts(t *testing.T) {
	h, begun := newHosts(), time.Unix(1000, 0)
	var w watch
	followed := func() {}
	w.stop.Store(&followed)
	ask := func(after time.Duration, last uint64, full bool) {
		h.listened(w.heard(last, full, begun.Add(after)))
	}
	unknown := func(_, _ string) bool { return false }
	left := func() (n int) {
		h.sweep(unknown)
		h.since(0, func(r web.Row) {
			if !r.Gone {
				n++
			}
		})
		return n
	}
	h.see(hostState{Site: "gva", Host: "well"}, begun)
	w.seq.Store(7)
	ask(0, 7, false)
	ask(2*goneAfter, 9, false) // it was cut off meanwhile
	w.seq.Store(8)
	ask(2*goneAfter+backlogEvery, 9, false) // not all has come that the bucket has
	w.seq.Store(9)
	for n := range int(goneAfter / backlogEvery) {
		ask(3*goneAfter+time.Duration(n)*backlogEvery, 9, true) // it takes none
	}
	if n := left(); n != 1 {
		t.Fatalf("%d hosts are left after two hours in which nothing was heard, want 1", n)
	}
	for n := range int(goneAfter/backlogEvery) + 1 {
		if ask(5*goneAfter+time.Duration(n)*backlogEvery, 9, false); n == int(goneAfter/backlogEvery)-1 && left() != 1 {
			t.Error("it is gone before its time")
		}
	}
	if n := left(); n != 0 {
		t.Errorf("%d hosts are left after an hour without a word, want none", n)
	}
}

// TestRowsFollowTheFleet has a hub's own look at the fleet drop the row of a host that is in no picture any more.
func TestRowsFollowTheFleet(t *testing.T) {
	h := &Hub{hosts: newHosts(), fleet: fleet.New(fleet.Config{})}
	h.hosts.see(hostState{Site: "gva", Host: "old"}, time.Now().Add(-40*24*time.Hour))
	h.hosts.listened(goneAfter)
	h.fleet.Seen(fleet.HostSeen{Site: "gva", Host: "new", At: time.Now()}, time.Now())
	h.hosts.see(hostState{Site: "gva", Host: "new"}, time.Now())
	h.markAll()
	gone := map[string]bool{}
	h.hosts.since(0, func(r web.Row) { gone[r.Host] = r.Gone })
	if len(gone) != 2 || !gone["old"] || gone["new"] {
		t.Errorf("gone are %v", gone)
	}
}

// TestSummaryIsBounded: what takes a look at everything takes a twentieth of the time at most.
func TestSummaryIsBounded(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		age, took time.Duration
		anew      bool
	}{{900 * time.Millisecond, 0, false}, {2 * time.Second, time.Millisecond, true}, {2 * time.Second, time.Second, false}, {21 * time.Second, time.Second, true}} {
		h := &Hub{hosts: newHosts(), fleet: fleet.New(fleet.Config{}), control: &control{}}
		h.summary = summary{at: now.Add(-c.age), took: c.took}
		if h.summarize(now); h.summary.at.Equal(now) != c.anew {
			t.Errorf("%v after one that took %v: made anew is %v", c.age, c.took, !c.anew)
		}
	}
}
