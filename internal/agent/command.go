package agent

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// settleWithin bounds how long a step by hand without a running agent waits for its outcome.
const settleWithin = 10 * time.Second

// finishWithin bounds how long it waits for a disk.
const finishWithin = 5 * time.Second

// Do carries out an operator's order. It may be called from any goroutine.
func (a *Agent) Do(ctx context.Context, c Command) (Reply, error) {
	a.cfg.Log.Info("order of an operator", zap.String("order", string(c.Verb)), zap.String("by", c.By))
	switch c.Verb { // a plain file, which the loop reads afresh; writing it may take a disk's time
	case VerbHold:
		return withDisk(ctx, func() Reply { return a.hold(c) })
	case VerbUnhold:
		return withDisk(ctx, a.unhold)
	}
	type answer struct {
		Reply
		rest <-chan string // what the recorder adds; nil: nothing
	}
	r, err := ask(ctx, a, func() answer {
		r, rest := a.carryOut(c)
		if rest == nil {
			return answer{Reply: r}
		}
		added := make(chan string, 1) // the recorder need not wait for us
		a.recorder.do(func() { added <- rest() })
		return answer{Reply: r, rest: added}
	})
	if err != nil || r.rest == nil {
		return r.Reply, err
	}
	select {
	case text := <-r.rest:
		r.Text += text
	case <-ctx.Done():
		r.Text += "; the persisted limit is still being brought in line"
	}
	return r.Reply, nil
}

// withDisk does what may hang with the disk of state_dir, and gives up when ctx is done.
func withDisk(ctx context.Context, do func() Reply) (Reply, error) {
	done := make(chan Reply, 1) // whoever gave up does not read it
	go func() { done <- do() }()
	select {
	case r := <-done:
		return r, nil
	case <-ctx.Done():
		return Reply{}, fmt.Errorf("the disk of state_dir does not answer: %w", ctx.Err())
	}
}

// carryOut does what is asked. What may wait for a disk comes back as a function, to be run by the recorder after all
// that it was given before; it returns what to add to the answer's text.
func (a *Agent) carryOut(c Command) (Reply, func() string) {
	switch c.Verb {
	case VerbRaise:
		return a.raise(c.To), nil
	case VerbRevert:
		return a.revert(c.All)
	}
	return Reply{Text: fmt.Sprintf("unknown order %q", c.Verb)}, nil
}

func (a *Agent) hold(c Command) Reply {
	h := remediate.Hold{Since: time.Now().UTC().Truncate(time.Second), By: c.By}
	until := "until ctwarden unhold"
	if c.For > 0 {
		h.Until = h.Since.Add(c.For)
		until = "until " + h.Until.Format(time.RFC3339)
	}
	places := a.cfg.holdPlaces()
	unkept, err := places.Set(h)
	if err != nil {
		return Reply{Text: err.Error()}
	}
	return Reply{Done: true, Text: "automatic writes are held " + until + places.Unkept(unkept, h.Since)}
}

func (a *Agent) unhold() Reply {
	was, err := a.cfg.holdPlaces().Clear()
	if err != nil {
		return Reply{Text: err.Error()}
	}
	text := "automatic writes are released"
	if !was {
		text = "automatic writes were not held"
	}
	return Reply{Done: true, Text: text + FleetHolds(a.cfg.StateDir, a.cfg.RuntimeDir, time.Now())}
}

// FleetHolds says to an operator who releases the host's own hold that the fleet's stays, whose it is and how it is
// released. It is empty where the fleet does not hold.
func FleetHolds(stateDir, runtimeDir string, now time.Time) string {
	held, err := apply.HoldPlaces{StateDir: stateDir, RuntimeDir: runtimeDir, Fleet: true}.Held(now)
	if held == nil {
		return ""
	}
	text := fmt.Sprintf("; BUT %s, with the --site or --host that it was ordered for; where no hub can be reached, remove %s",
		held.Text(), held.File)
	if err != nil {
		text += fmt.Sprintf(" (%v)", err)
	}
	return text
}

// finish saves, and does what may wait for a disk. It returns false where the disk did not answer, or refused.
func (a *Agent) finish(ctx context.Context) bool {
	a.save(true)
	ctx, cancel := context.WithTimeout(ctx, finishWithin)
	defer cancel()
	return a.recorder.work(ctx)
}

// Once carries out one order in this process, where no agent runs: it reads the tables, does what is asked and nothing
// of its own accord, waits for the outcome of a step and saves. The agent must not have been run.
func (a *Agent) Once(ctx context.Context, c Command) (Reply, error) {
	a.byHand = true
	a.sample()
	r, rest := a.carryOut(c)
	if rest != nil {
		added := make(chan string, 1)
		a.recorder.do(func() { added <- rest() })
		if !a.finish(ctx) {
			return r, fmt.Errorf("%s, but the disk does not answer: what is persisted and journalled is brought in line at the "+
				"next start: %w", r.Text, errDiskSlow)
		}
		r.Text += <-added
	}
	settling, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for a.tracker.Settling() && settling.Err() == nil {
		select {
		case <-settling.Done():
		case <-time.After(a.nextSample(time.Now())):
			a.sample()
		}
	}
	for range 2 { // the first turn writes the sysctl.d file, the second saves what came of it
		if !a.finish(ctx) {
			r.Text += "; the disk of state_dir does not take it yet: the next start books it"
			break
		}
	}
	if r.Step != nil && r.Done && a.tracker.Settling() {
		r.Text += "; its outcome is not known yet, and the limit is not persisted"
	}
	return r, nil
}
