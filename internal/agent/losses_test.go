package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// Each loss is told of, but many are added up, and none is left out at the end.
func TestManyLosses(t *testing.T) {
	w := newWatch(t)
	const n = 10_000
	for i := range n {
		w.takeBatch(watcher.Batch{Source: kmsg, CaughtUp: true, Stats: watcher.Stats{Lost: 2, LostText: fmt.Sprintf("loss %d", i)}})
	}
	if len(w.events) != lossesAtOnce {
		t.Errorf("%d events at once, want %d", len(w.events), lossesAtOnce)
	}
	w.sayLost(w.now, w.streams["kmsg"], true)
	w.sayLost(w.now, w.streams["kmsg"], true)
	var lost uint64
	for _, ev := range w.events {
		s := ev.Data.(remediate.SourceState)
		if lost += s.Lost; len(s.Problem) > 2*longestLoss || !strings.HasPrefix(s.Problem, "loss ") {
			t.Errorf("problem %.80q", s.Problem)
		}
	}
	if lost != 2*n || len(w.events) != lossesAtOnce+1 || w.streams["kmsg"].status.Lost != 2*n {
		t.Errorf("%d told in %d events, want %d", lost, len(w.events), 2*n)
	}
}

// A storm of losses of unknown number is told of like any other, counts nothing, and is followed by no recovery: the source
// was up all the while.
func TestManyUnknownLosses(t *testing.T) {
	w := newWatch(t)
	const n = 1000
	for i := range n {
		w.takeBatch(watcher.Batch{
			Source: remediate.SourceSyslog, Path: kernLog, CaughtUp: true,
			Stats: watcher.Stats{LostText: fmt.Sprintf("%s was truncated, at most about %d", kernLog, i)},
		})
	}
	if len(w.events) != lossesAtOnce {
		t.Errorf("%d events at once, want %d", len(w.events), lossesAtOnce)
	}
	w.wait(lossesEvery + 2*tickEvery)
	if len(w.events) != lossesAtOnce+1 {
		t.Errorf("%d events a minute later, want one more than %d", len(w.events), lossesAtOnce)
	}
	for _, ev := range w.events {
		s := ev.Data.(remediate.SourceState)
		if ev.Type != remediate.EventSourceDegraded || s.Source != remediate.SourceSyslog || s.Lost != 0 ||
			!strings.HasPrefix(s.Problem, kernLog+" was truncated") || len(s.Problem) > 2*longestLoss {
			t.Errorf("told %s %+v", ev.Type, s)
		}
	}
	for key, st := range w.streams {
		if st.status.Lost != 0 || !st.status.Up {
			t.Errorf("%s: %d lost, up %v", key, st.status.Lost, st.status.Up)
		}
	}
}

// What was lost and not told of yet outlives a kill, and is told once.
func TestUntoldLossesAreSaved(t *testing.T) {
	w := newWatch(t)
	for i := range lossesAtOnce + 3 {
		w.takeBatch(watcher.Batch{Source: kmsg, CaughtUp: true, Stats: watcher.Stats{Lost: 2, LostText: fmt.Sprintf("loss %d", i)}})
	}
	saved := w.untoldLosses()[lossesKey("kmsg")]
	next := newWatch(t)
	st := next.streams["kmsg"]
	if err := st.losses.restore(saved); err != nil {
		t.Fatal(err)
	}
	next.auditSources(next.now)
	if len(next.events) != 1 || next.events[0].Data.(remediate.SourceState).Lost != 6 {
		t.Fatalf("told %+v, want one loss of 6", next.events)
	}
	if after, ok := next.untoldLosses()[lossesKey("kmsg")]; !ok || len(after) != 0 {
		t.Errorf("what was told is kept: %q", after)
	}
	if again := next.untoldLosses(); len(again) != 0 {
		t.Errorf("said twice to the state file: %v", again)
	}
	if err := st.losses.restore([]byte("{")); err == nil {
		t.Error("no error for what is damaged")
	}
}
