package watcher

import (
	"context"
	"encoding/json"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// sendEvery is the least time between two batches that hold nothing urgent: no match, no change of state.
	sendEvery = time.Second
	// beatSlack has a sign of life go out a little early rather than at the next look but one.
	beatSlack = 100 * time.Millisecond
	// sendMatches is how many matches are gathered at most before they are sent, while a backlog is read.
	sendMatches = 256
)

// sender gathers what a source read and sends it. It belongs to the one goroutine that runs the source.
type sender struct {
	out   chan<- Batch
	now   func() time.Time
	beat  time.Duration // how often something is sent at least
	batch Batch         // what was read since the last one sent; its source, path and position key stay
	state State
	said  bool // state was sent or is in batch
	news  bool // batch says for the first time that the source has caught up
	sent  time.Time
}

func newSender(out chan<- Batch, now func() time.Time, source remediate.Source, path string) *sender {
	s := &sender{out: out, now: now, beat: BeatEvery}
	s.batch.Source, s.batch.Path = source, path
	s.batch.Position.Key = remediate.Match{Source: source, Path: path}.Key()
	return s
}

// match adds one match and counts it.
func (s *sender) match(m remediate.Match) {
	s.batch.Matches = append(s.batch.Matches, m)
	s.batch.Stats.Matches += uint64(m.Count)
	s.batch.Stats.Suppressed += uint64(m.Suppressed)
	s.last(m.Time)
}

// last notes the time of a record that was read. One that claims to be of a time to come is of now, or a single line of
// the year 9999 would make the source look up to date for ever; and so would a clock that was set back.
func (s *sender) last(t time.Time) {
	now := s.now()
	if t.After(now) {
		t = now
	}
	if t.After(s.batch.Last) || s.batch.Last.After(now) {
		s.batch.Last = t
	}
}

// lost notes that records are gone: n of them, or an unknown number where n is 0.
func (s *sender) lost(n uint64, text string) {
	s.batch.Stats.lose(n, text)
}

// position sets where to resume behind what was added so far. Position types marshal without fail.
func (s *sender) position(v any) {
	if data, err := json.Marshal(v); err == nil {
		s.batch.Position.Data = data
	}
}

// setState notes that the source is in state st, if it was not before.
func (s *sender) setState(st State) {
	if s.said && s.state == st {
		return
	}
	s.state, s.said = st, true
	s.batch.State = &st
}

// up says that all is well.
func (s *sender) up() { s.setState(State{Up: true}) }

// caughtUp says that everything older than now has been read, or that there is nothing to read.
func (s *sender) caughtUp() {
	s.news = s.news || !s.batch.CaughtUp
	s.batch.CaughtUp = true
}

// urgent tells whether the batch must not wait.
func (s *sender) urgent() bool {
	return s.news || len(s.batch.Matches) > 0 || s.batch.State != nil || s.batch.Stats.LostText != ""
}

// pending tells whether there is anything to send, if it is only a sign of life.
func (s *sender) pending() bool {
	return s.urgent() || s.batch.Position.Data != nil || s.batch.Stats != Stats{} ||
		!s.sent.IsZero() && s.now().Sub(s.sent) >= s.beat-beatSlack
}

// wait is how long what is pending may still wait; idle if nothing is.
func (s *sender) wait(idle time.Duration) time.Duration {
	if !s.pending() {
		return idle
	}
	return max(0, min(idle, sendEvery-s.now().Sub(s.sent)))
}

// tick sends what is pending if it is urgent or has waited long enough.
func (s *sender) tick(ctx context.Context) error {
	if s.urgent() || s.wait(sendEvery) == 0 {
		return s.flush(ctx)
	}
	return nil
}

// full sends what is pending if it is much. A source calls it between two records, while it reads a backlog.
func (s *sender) full(ctx context.Context) error {
	if len(s.batch.Matches) >= sendMatches || s.wait(sendEvery) == 0 {
		return s.flush(ctx)
	}
	return nil
}

// flush sends what is pending, if anything is, and waits for the receiver. It fails only when ctx is done.
func (s *sender) flush(ctx context.Context) error {
	if !s.pending() {
		return nil
	}
	select {
	case s.out <- s.batch:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.sent, s.news = s.now(), false
	s.batch.Matches, s.batch.Stats, s.batch.State, s.batch.Kernel = nil, Stats{}, nil, nil
	s.batch.Position.Data = nil
	return nil
}

// sleep waits for d. It fails only when ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stopped turns the end of ctx into a clean return: a source that is told to stop has not failed.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
