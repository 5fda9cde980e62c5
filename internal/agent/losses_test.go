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
