package state

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// precious are the events that a full outbox must never cost.
func precious(t remediate.EventType) bool {
	return t == remediate.EventIncidentOpened || t == remediate.EventIncidentClosed || strings.HasPrefix(string(t), "step.")
}

// model is the outbox as its promise has it: a plain list.
type model struct {
	most          int
	events        []notify.Outgoing
	dropped       int
	updates, news int // of the dropped
}

// add makes room by dropping the oldest update, or else the oldest news. An update gives way to news.
func (m *model) add(ev notify.Outgoing) {
	if len(m.events) >= m.most {
		worst := slices.IndexFunc(m.events, func(e notify.Outgoing) bool { return e.Type == remediate.EventIncidentUpdated })
		if worst < 0 && ev.Type != remediate.EventIncidentUpdated {
			worst = slices.IndexFunc(m.events, func(e notify.Outgoing) bool { return !precious(e.Type) })
		}
		switch {
		case worst >= 0:
			m.lose(m.events[worst])
			m.events = slices.Delete(m.events, worst, worst+1)
		case !precious(ev.Type):
			m.lose(ev)
			return
		}
	}
	m.events = append(m.events, ev)
}

func (m *model) lose(ev notify.Outgoing) {
	m.dropped++
	if ev.Type == remediate.EventIncidentUpdated {
		m.updates++
	} else {
		m.news++
	}
}

// remove is an acknowledgement.
func (m *model) remove(id string) {
	m.events = slices.DeleteFunc(m.events, func(ev notify.Outgoing) bool { return ev.ID == id })
}

func (m *model) ids() []string {
	out := make([]string, len(m.events))
	for i, ev := range m.events {
		out[i] = ev.ID
	}
	return out
}

// TestPromiseOverflow holds the outbox against the model over random commits, acknowledgements and restarts.
func TestPromiseOverflow(t *testing.T) {
	var total model
	runs := testhost.Amount(12, 400)
	events := 0
	for seed := range runs {
		m, n := overflow(t, uint64(seed))
		total.dropped, total.updates, total.news = total.dropped+m.dropped, total.updates+m.updates, total.news+m.news
		events += n
	}
	testhost.Held(t, "4.2 order of dropping", "%d random runs, %d events: dropped %d updates and %d other news, never an opened, a closed or a step, as the model has it",
		runs, events, total.updates, total.news)
}

func overflow(t *testing.T, seed uint64) (*model, int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 4))
	m := &model{most: 1 + r.IntN(20)}
	path, opts := filepath.Join(t.TempDir(), "s"), Options{MaxEvents: m.most}
	s := open(t, path, opts)
	n := 0
	for range 30 {
		switch r.IntN(6) {
		case 0:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, path, opts)
		case 1:
			waiting, err := s.Peek(0, 1+r.IntN(8))
			if err != nil {
				t.Fatal(err)
			}
			var seqs []uint64
			for _, ev := range waiting {
				seqs = append(seqs, ev.Seq)
				m.remove(ev.ID)
			}
			if err := s.Ack(seqs); err != nil {
				t.Fatal(err)
			}
		default:
			var c Change
			for range 1 + r.IntN(12) {
				ev := event(fmt.Sprint("e", n), anyType(r))
				c.Events, n = append(c.Events, ev), n+1
				m.add(ev)
			}
			commit(t, s, c)
		}
		if got, want := ids(t, s), m.ids(); !slices.Equal(got, want) || s.Dropped() != uint64(m.dropped) {
			t.Fatalf("seed %d, at most %d: got %v, dropped %d\nwant %v, dropped %d", seed, m.most, got, s.Dropped(), want, m.dropped)
		}
	}
	return m, n
}

// anyType is mostly an update, as in an outage that lasts.
func anyType(r *rand.Rand) remediate.EventType {
	types := []remediate.EventType{
		remediate.EventIncidentOpened, remediate.EventIncidentClosed, remediate.EventStepApplied, remediate.EventStepConfirmed,
		remediate.EventStepRefused, remediate.EventStepFailed, remediate.EventStepReverted, remediate.EventMatchUnverified,
		remediate.EventSourceDegraded, remediate.EventSourceRecovered, remediate.EventLimitChanged, remediate.EventAgentStarted,
		remediate.EventAgentStopped,
	}
	if i := r.IntN(3 * len(types)); i < len(types) {
		return types[i]
	}
	return remediate.EventIncidentUpdated
}
