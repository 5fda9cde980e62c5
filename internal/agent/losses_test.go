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
