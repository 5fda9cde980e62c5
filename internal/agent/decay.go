package agent

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// decayRetry is how long after a step back down that was not taken it is looked at again.
const decayRetry = time.Minute

// decay takes the limit one step back down where it has been far too high for long enough, and has the sysctl.d file
// follow. It undoes what ctwarden raised, so it is told as step.reverted.
func (a *Agent) decay(now time.Time) {
	p := a.cfg.Policy
	if p.Decay <= 0 || a.tracker.Quiet() < p.Decay || now.Before(a.decayAfter) {
		return
	}
	a.decayAfter = now.Add(decayRetry)
	limits, err := a.table.Limits()
	if err != nil {
		return // that is said where the table is read
	}
	ask := remediate.Ask{Reason: remediate.ReasonDecay}
	ask.Reading.NetNS = a.initNetNS()
	d := remediate.DecideDecay(p, a.situation(now, ask, limits), remediate.Decay{
		Quiet: a.tracker.Quiet(), Live: a.live(), Peak: a.tracker.QuietPeak(), Found: a.tracker.FirstLimit(), Base: decayBase(a.steps, limits.Max),
	})
	if !d.Do {
		return
	}
	down := remediate.Step{ID: a.nextStepID(now), From: d.To, To: d.From, NetNS: d.NetNS} // all that is taken back, as one
	back, err := a.undo(down, d.To, remediate.ReasonDecay)
	if err != nil {
		a.countStep("failed", remediate.ReasonDecay)
		a.noteIf(noteDecay, fmt.Errorf("the limit was not stepped back from %d to %d: %w", d.From, d.To, err))
		return
	}
	a.noteIf(noteDecay, nil)
	a.finishRevert(back)
}

// live is the largest number of entries of any one namespace.
func (a *Agent) live() uint64 {
	var most uint64
	for _, s := range a.spaces {
		most = max(most, s.last.Count)
	}
	return most
}

// decayBase is the limit that the steps which led to the present one may be taken back to: where the chain of them
// began, or what an operator raised it to meanwhile, since a step by hand is the operator's to undo. 0: the limit is none
// that they led to.
func decayBase(steps []remediate.Step, limit uint64) uint64 {
	chain := standing(steps, limit)
	if len(chain) == 0 {
		return 0
	}
	return max(chain[len(chain)-1].From, byHand(steps))
}

// byHand is what an operator last raised the limit to, as far as that was not taken back. It is looked for beyond the
// boot too: what is persisted of it is applied again.
func byHand(steps []remediate.Step) uint64 {
	var hand uint64
	for _, s := range steps {
		switch {
		case !written(s):
		case s.To < s.From || s.Reason == remediate.ReasonBoot:
			hand = min(hand, s.To)
		case s.Reason == remediate.ReasonManual:
			hand = s.To
		case s.From < hand:
			hand = 0 // somebody else has taken it back meanwhile
		}
	}
	return hand
}

// saveQuiet saves how long it has been quiet, now and then, so that a kill does not cost all of it; and at once where it
// begins anew, so that a kill does not bring back what is over.
func (a *Agent) saveQuiet() {
	quiet := a.tracker.Quiet()
	if quiet < a.savedQuiet || quiet-a.savedQuiet >= max(a.cfg.Policy.Decay/24, time.Minute) {
		a.save(true)
	}
}
