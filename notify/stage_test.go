package notify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
)

// stage is one server that fails in one way and comes back, and a publisher with its outbox on disk.
type stage struct {
	*testing.T
	lab    *lab
	admin  []nats.Option // how the test itself gets in
	dial   notify.Dial
	store  *state.Store
	pub    *notify.Publisher
	logged *observer.ObservedLogs

	secrets   []string // what must not be shown
	committed int      // events so far
	before    []string // ids that were in a stream that is gone
	slowest   time.Duration
}

func newStage(t *testing.T, f fault) *stage {
	t.Helper()
	s := &stage{T: t, lab: newLab(t, nil), store: newStore(t)}
	s.dial.Servers = []string{s.lab.url()}
	if f.prepare != nil {
		f.prepare(s)
	}
	s.lab.start()
	s.lab.setup(s.admin...)
	if f.atStart {
		f.fail(s)
	}
	core, logged := observer.New(zapcore.InfoLevel)
	s.logged = logged
	var err error
	s.pub, err = notify.NewPublisher(notify.PublisherOptions{Dial: s.dial, Identity: me, Queue: s.store, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	start(t, s.pub)
	return s
}

// commit puts n events into the outbox, some at a time as the agent does.
func (s *stage) commit(n int) {
	s.Helper()
	for n > 0 {
		some := min(n, 25)
		add(s.T, s.store, s.committed, some)
		s.committed, n = s.committed+some, n-some
		s.pub.Wake()
	}
}

// waitFor is generous: all stages run at once. How long it took is told.
func (s *stage) waitFor(what string, done func() bool) time.Duration {
	s.Helper()
	begin := time.Now()
	s.Cleanup(func() {
		if s.Failed() {
			s.Logf("%+v; %d in the outbox", s.pub.Status(), s.store.Len())
		}
	})
	testhost.Eventually(s.T, what, done)
	return time.Since(begin)
}

// said tells whether the log has a line with the problem.
func (s *stage) said(p notify.Problem) bool {
	return slices.ContainsFunc(s.logged.All(), func(e observer.LoggedEntry) bool {
		return e.Level >= zapcore.WarnLevel && e.ContextMap()["problem"] == string(p)
	})
}

// noticed waits until the status has the problem and the words, and the log the problem.
func (s *stage) noticed(f fault) {
	s.Helper()
	took := s.waitFor(fmt.Sprintf("status and log say %s %q", f.problem, f.words), func() bool {
		st := s.pub.Status()
		return st.Problem == f.problem && strings.Contains(st.Error, f.words) && s.said(f.problem)
	})
	s.slowest = max(s.slowest, took)
	s.discreet()
	if s.store.Len() == 0 {
		s.Error("the outbox is empty")
	}
}

// recovered waits until all has been sent and nothing is wrong any more, and checks what arrived.
func (s *stage) recovered(f fault) {
	s.Helper()
	s.waitFor("the outbox is empty and the status good", func() bool {
		st := s.pub.Status()
		return s.store.Len() == 0 && st.Connected && st.Error == "" && st.Problem == ""
	})
	if n := s.store.Dropped(); n > 0 {
		s.Errorf("%d events were dropped", n)
	}
	s.arrived(f.reorders)
	if last := s.logged.FilterLevelExact(zapcore.InfoLevel).All(); len(last) == 0 {
		s.Error("the log says nothing of the recovery")
	}
	s.discreet()
	s.logged.TakeAll()
}

// discreet fails the test where a secret shows.
func (s *stage) discreet() {
	s.Helper()
	shown := fmt.Sprintf("%+v\n", s.pub.Status())
	for _, e := range s.logged.All() {
		shown += fmt.Sprintln(e.Message, e.ContextMap())
	}
	for _, secret := range s.secrets {
		if strings.Contains(shown, secret) {
			s.Errorf("%q shows in:\n%s", secret, shown)
		}
	}
}

// arrived fails the test unless each event is in the stream once, in the order of the outbox.
func (s *stage) arrived(anyOrder bool) {
	s.Helper()
	got := append(slices.Clone(s.before), s.lab.stored(s.admin...)...)
	if anyOrder {
		slices.Sort(got)
	}
	wantNumbered(s.T, got, s.committed)
}
