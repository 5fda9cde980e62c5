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

// Do carries out an operator's order. It may be called from any goroutine.
func (a *Agent) Do(ctx context.Context, c Command) (Reply, error) {
	var r Reply
	err := a.call(ctx, func() {
		a.cfg.Log.Info("order of an operator", zap.String("order", string(c.Verb)), zap.String("by", c.By))
		r = a.carryOut(c)
	})
	return r, err
}

func (a *Agent) carryOut(c Command) Reply {
	switch c.Verb {
	case VerbRaise:
		return a.raise(c.To)
	case VerbRevert:
		return a.revert(c.All)
	case VerbHold:
		return a.hold(c)
	case VerbUnhold:
		return a.unhold()
	}
	return Reply{Text: fmt.Sprintf("unknown order %q", c.Verb)}
}

func (a *Agent) hold(c Command) Reply {
	h := remediate.Hold{Since: time.Now().UTC(), By: c.By}
	until := "until ctwarden unhold"
	if c.For > 0 {
		h.Until = h.Since.Add(c.For)
		until = "until " + h.Until.Format(time.RFC3339)
	}
	if err := apply.SetHold(a.cfg.StateDir, h); err != nil {
		return Reply{Text: err.Error()}
	}
	return Reply{Done: true, Text: "automatic writes are held " + until}
}

func (a *Agent) unhold() Reply {
	was, err := apply.ClearHold(a.cfg.StateDir)
	if err != nil {
		return Reply{Text: err.Error()}
	}
	if !was {
		return Reply{Done: true, Text: "automatic writes were not held"}
	}
	return Reply{Done: true, Text: "automatic writes are released"}
}

// Once carries out one order in this process, where no agent runs: it reads the tables, does what is asked, waits for
// the outcome of a step and saves. The agent must not have been run.
func (a *Agent) Once(ctx context.Context, c Command) (Reply, error) {
	a.sample()
	r := a.carryOut(c)
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for a.tracker.Settling() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(a.nextSample(time.Now())):
			a.sample()
		}
	}
	for range 2 { // the first turn writes the sysctl.d file, the second saves what came of it
		a.save(true)
		a.recorder.work()
	}
	if r.Step != nil && r.Done && a.tracker.Settling() {
		r.Text += "; its outcome is not known yet, and the limit is not persisted"
	}
	return r, nil
}
