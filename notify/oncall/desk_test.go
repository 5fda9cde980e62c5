package oncall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// scripted is a sender that answers as a test says, and notes what it was given and when.
type scripted struct {
	mu     sync.Mutex
	begun  time.Time
	answer func(ctx context.Context, n Notification) error
	sent   []string // "id at seconds"
	// together is how many notifications each attempt of repeats had.
	together []int
	every    time.Duration
	after    time.Duration
}

func (s *scripted) Send(ctx context.Context, n Notification) error {
	s.mu.Lock()
	s.sent = append(s.sent, fmt.Sprintf("%s@%.0f", n.ID, time.Since(s.begun).Seconds()))
	answer := s.answer
	s.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer(ctx, n)
}

func (s *scripted) Repeat() (every, after time.Duration) { return s.every, s.after }

func (s *scripted) Again(ctx context.Context, all []Notification) error {
	s.mu.Lock()
	s.together = append(s.together, len(all))
	s.mu.Unlock()
	var errs []error
	for _, n := range all {
		errs = append(errs, s.Send(ctx, n))
	}
	return errors.Join(errs...)
}

// got is what was sent so far: IDs alone, or with the second of each.
func (s *scripted) got(times bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.sent)
	if !times {
		for i, text := range out {
			out[i], _, _ = strings.Cut(text, "@")
		}
	}
	return out
}

func (s *scripted) answers(f func(ctx context.Context, n Notification) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// desk is a queue under test, in a bubble of its own.
type desk struct {
	*Queue
	t *testing.T
	s *scripted

	mine     sync.Mutex
	outcomes []string // "id result attempts"
	errs     map[string]string
}

// inBubble runs f with a queue in a bubble, where time passes only as all goroutines wait.
func inBubble(t *testing.T, f func(d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, &scripted{begun: time.Now()})
		f(d)
	})
}

func newDesk(t *testing.T, s *scripted) *desk {
	c := Config{Name: "ops", Webhook: &WebhookConfig{}, PerMinute: 60_000}
	return &desk{Queue: NewQueue(c, s, zap.NewNop()), t: t, s: s, errs: map[string]string{}}
}

// run starts the queue; it ends with the test's bubble.
func (d *desk) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // has room for the one result
	go func() { ended <- d.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				d.t.Errorf("Run: %v", err)
			}
		})
	}
	d.t.Cleanup(stop)
	return stop
}

// submit hands in a notification such as "t1 a": trigger 1 of key a; u, k and r are updates, acknowledgements and
// resolves, T is a trigger that is a warning.
func (d *desk) submit(texts ...string) {
	d.t.Helper()
	for _, text := range texts {
		if err := d.Submit(noteOf(text), d.done); err != nil {
			d.t.Fatalf("%s: %v", text, err)
		}
	}
}

func noteOf(text string) Notification {
	id, key, _ := strings.Cut(text, " ")
	n := Notification{ID: id, Key: key, Severity: "critical", At: time.Now(), Since: time.Now(), Verified: true}
	switch id[0] {
	case 't':
		n.Action = ActionTrigger
	case 'T':
		n.Action, n.Severity = ActionTrigger, "warning"
	case 'u':
		n.Action = ActionUpdate
	case 'k':
		n.Action = ActionAcknowledge
	case 'r':
		n.Action, n.Until = ActionResolve, time.Now()
	}
	return n
}

func (d *desk) done(o Outcome) {
	d.mine.Lock()
	defer d.mine.Unlock()
	d.outcomes = append(d.outcomes, fmt.Sprintf("%s %s %d", o.ID, o.Result, o.Attempts))
	d.errs[o.ID] = o.Err
}

// ended are the outcomes so far.
func (d *desk) ended() []string {
	synctest.Wait()
	d.mine.Lock()
	defer d.mine.Unlock()
	return slices.Clone(d.outcomes)
}

// errOf is what the outcome of a notification says to its error.
func (d *desk) errOf(id string) string {
	d.mine.Lock()
	defer d.mine.Unlock()
	return d.errs[id]
}

// kept is how many troubles are repeated, those that are over included.
func (d *desk) kept() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

func (d *desk) wantSent(want ...string) {
	d.t.Helper()
	synctest.Wait()
	if got := d.s.got(len(want) > 0 && strings.Contains(want[0], "@")); !slices.Equal(got, want) {
		d.t.Errorf("sent %v, want %v", got, want)
	}
}

func (d *desk) wantOutcomes(want ...string) {
	d.t.Helper()
	if got := d.ended(); !slices.Equal(got, want) {
		d.t.Errorf("outcomes %v, want %v", got, want)
	}
}

func away(context.Context, Notification) error {
	return retryAfter(0, "nobody answers")
}
