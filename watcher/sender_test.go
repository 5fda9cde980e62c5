package watcher

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// patience is how long a test waits for an event that should come at once.
const patience = 15 * time.Second

// asNobody runs a test of this program as an ordinary user, with env besides.
func asNobody(t *testing.T, test, env string) {
	t.Helper()
	if out, err := testhost.AsNobody(t, test, env).CombinedOutput(); err != nil {
		t.Errorf("as an ordinary user: %v: %s", err, out)
	}
}

// running is a source under test.
type running struct {
	out    chan Batch
	cancel context.CancelFunc
	done   chan error
	over   bool
}

// run starts the source. It is stopped at the end of the test at the latest.
func run(t *testing.T, s Source) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{out: make(chan Batch), cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx, r.out) }()
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop ends the source and sees that it ended well.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if r.over {
		return
	}
	r.over = true
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("Run = %v", err)
		}
	case <-time.After(patience):
		t.Error("the source does not stop")
	}
}

// next gathers batches up to one that will do, and adds them up.
func (r *running) next(t *testing.T, enough func(sum Batch) bool) Batch {
	t.Helper()
	return drain(t, r.out, enough)
}

func drain(t *testing.T, out <-chan Batch, enough func(sum Batch) bool) Batch {
	t.Helper()
	sum, ok := drainFor(out, patience, enough)
	if !ok {
		t.Fatalf("gave up waiting; so far %d matches, %+v, caught up %v, state %+v, position %s",
			len(sum.Matches), sum.Stats, sum.CaughtUp, sum.State, sum.Position.Data)
	}
	return sum
}

// drainFor is false if after d there is not enough yet.
func drainFor(out <-chan Batch, d time.Duration, enough func(sum Batch) bool) (sum Batch, ok bool) {
	deadline := time.After(d)
	for {
		select {
		case b := <-out:
			sum = add(sum, b)
			if enough(sum) {
				return sum, true
			}
		case <-deadline:
			return sum, false
		}
	}
}

// add puts b behind sum.
func add(sum, b Batch) Batch {
	b.Matches = append(sum.Matches, b.Matches...)
	s := &b.Stats
	s.Records += sum.Stats.Records
	s.Bytes += sum.Stats.Bytes
	s.Matches += sum.Stats.Matches
	s.Suppressed += sum.Stats.Suppressed
	s.NotKernel += sum.Stats.NotKernel
	s.OtherHost += sum.Stats.OtherHost
	s.Unparsed += sum.Stats.Unparsed
	s.Lost += sum.Stats.Lost
	if s.LostText == "" {
		s.LostText = sum.Stats.LostText
	}
	if b.Position.Data == nil {
		b.Position.Data = sum.Position.Data
	}
	if b.State == nil {
		b.State = sum.State
	}
	return b
}

func TestSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		out := make(chan Batch, 10)
		s := newSender(out, time.Now, remediate.SourceSyslog, "/var/log/kern.log")
		s.up()
		s.position(1)
		if err := s.tick(ctx); err != nil {
			t.Fatal(err)
		}
		b := <-out
		if b.State == nil || !b.State.Up || string(b.Position.Data) != "1" || b.Position.Key != "syslog:/var/log/kern.log" {
			t.Errorf("first batch %+v", b)
		}
		s.up()
		if s.pending() || s.wait(time.Minute) != time.Minute {
			t.Error("the same state twice")
		}
		s.position(2)
		s.batch.Stats.Records++
		if err := s.tick(ctx); err != nil || len(out) != 0 {
			t.Error("a position alone was sent at once")
		}
		if w := s.wait(time.Minute); w != sendEvery {
			t.Errorf("wait %v", w)
		}
		s.match(remediate.Match{Count: 3, Suppressed: 2})
		if err := s.tick(ctx); err != nil || len(out) != 1 {
			t.Fatal("a match waits")
		}
		if b := <-out; b.Stats.Matches != 3 || b.Stats.Suppressed != 2 || b.Stats.Records != 1 || b.CaughtUp {
			t.Errorf("batch %+v", b)
		}
		s.caughtUp()
		if err := s.tick(ctx); err != nil || len(out) != 1 || !(<-out).CaughtUp {
			t.Error("that it caught up was not sent at once")
		}
		s.caughtUp()
		s.position(3)
		time.Sleep(sendEvery)
		if err := s.tick(ctx); err != nil || len(out) != 1 || !(<-out).CaughtUp {
			t.Error("a position was not sent after a second")
		}
	})
}

func TestSenderStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newSender(make(chan Batch), time.Now, remediate.SourceKmsg, "")
	s.up()
	cancel()
	if err := s.flush(ctx); err == nil || stopped(ctx, err) != nil {
		t.Errorf("flush with nobody listening = %v", err)
	}
}
