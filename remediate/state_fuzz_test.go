package remediate

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

// fuzzStates are saved states, as they are and as they should not be.
func fuzzStates(f *testing.F) [][]byte {
	f.Helper()
	s := &script{t: nil, now: noon, limit: 1000}
	s.tr = NewTracker(fuzzTracker(), TrackerState{})
	s.read(host, 300, 100, 50)
	s.now = after(sec(1))
	s.read(host, 1000, 112, 50).read(pod, 950, 0, 0)
	s.lines(kmsg, kernlog, suppressed(4, kernlog), written(after(-time.Hour), journal), in(router, kernlog))
	s.take(s.tr.Applied(s.now, Step{ID: "s1", From: 1000, To: 2000, Reason: ReasonFull, At: s.now, IncidentID: s.tr.Open()[0].ID}, true))
	whole, err := json.Marshal(s.tr.State())
	if err != nil {
		f.Fatal(err)
	}
	seeds := [][]byte{whole}
	for _, text := range []string{
		`{}`, `null`, `[]`, `{"open":[null]}`, `{"open":[{}]}`, `{"boot_id":"b1","open":[{"matches":-1,"update_every":-1}]}`,
		`{"boot_id":"b1","open":[{"opened_at":"9999-12-31T23:59:59Z","trouble_at":"0001-01-01T00:00:00Z"}],"pending":{}}`,
		`{"boot_id":"b1","unopened":{},"limit":0,"step_times":["9999-12-31T23:59:59Z"],"foreign_at":"9999-12-31T23:59:59Z"}`,
		`{"past":[{"first":"9999-12-31T23:59:59Z","last":"0001-01-01T00:00:00Z","count":-5},{}],"unverified":{"count":-1}}`,
		`{"closed":[{"closed_at":null},{"id":"x","per_source":{"kmsg":1}}],"seq":18446744073709551615}`,
	} {
		seeds = append(seeds, []byte(text))
	}
	return seeds
}

func fuzzTracker() TrackerConfig {
	return TrackerConfig{
		Host: "hv1", BootID: "b1", Start: noon, Pressure: 0.90, CloseAfter: 2 * time.Minute,
		UpdateEvery: 30 * time.Second, Horizon: time.Minute,
	}
}

// FuzzTrackerState: whatever state is read, the tracker goes on from it, all its events and its new state can be
// written, and that state is read back as it was.
func FuzzTrackerState(f *testing.F) {
	for _, seed := range fuzzStates(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var st TrackerState
		if json.Unmarshal(data, &st) != nil {
			return
		}
		s := &script{t: t, now: noon, limit: 1000}
		s.tr = NewTracker(fuzzTracker(), st)
		saved := fuzzSaved(t, s.tr)
		s.read(host, 300, 100, 50).lines(kmsg, written(after(-time.Hour), journal))
		s.at(sec(1)).read(host, 1000, 112, 50).read(pod, 1000, 3, 0).lines(kmsg, kernlog, suppressed(4, kernlog), in(router, syslog))
		s.tr.Asks(s.now)
		s.tr.CaughtUp()
		fuzzSaved(t, s.tr)
		s.at(sec(10)).read(host, 400, 112, 50)
		if step, ok := s.tr.Settle(s.now); ok {
			s.take(s.tr.Confirmed(s.now, step))
		}
		s.at(minutes(5))
		fuzzSaved(t, s.tr)
		for _, ev := range s.all {
			if _, err := json.Marshal(ev.Data); err != nil || ev.ID == "" {
				t.Fatalf("%s of %s: %v", ev.Type, data, err)
			}
		}
		again := NewTracker(fuzzTracker(), saved)
		if want, got := fuzzJSON(t, saved), fuzzJSON(t, fuzzSaved(t, again)); !bytes.Equal(want, got) {
			t.Fatalf("%s became\n%s", want, got)
		}
	})
}

// fuzzSaved is the tracker's state after a save and a load.
func fuzzSaved(t *testing.T, tr *Tracker) TrackerState {
	t.Helper()
	var st TrackerState
	if err := json.Unmarshal(fuzzJSON(t, tr.State()), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func fuzzJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// FuzzHistory: old records that wait to be published outlive a restart as they were.
func FuzzHistory(f *testing.F) {
	f.Add([]byte(`[{"source":"kmsg","first":"2026-03-01T10:00:00Z","last":"2026-03-01T10:00:01Z","count":3}]`))
	f.Add([]byte(`[{"source":"syslog:/x","host":"A.b","inode":7,"first":"9999-12-31T23:59:59Z","last":"0001-01-01T00:00:00Z","count":-1}]`))
	f.Add([]byte(`[{"source":"a"},{"source":"a"},{"source":"a","host":"A"},{"source":"a","host":"a"}]`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var h History
		if json.Unmarshal(data, &h) != nil {
			return
		}
		h.closeAfter = time.Minute
		first := fuzzJSON(t, &h)
		var again History
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if second := fuzzJSON(t, &again); len(second) != len(first) || again.episodes != h.episodes {
			t.Fatalf("%s became\n%s", first, second)
		}
		for _, p := range h.Incidents() {
			fuzzJSON(t, p.Incident)
		}
	})
}
