package agent

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// bootAgain is how long after a refusal the persisted limit is tried again.
const bootAgain = 10 * time.Second

// bootStep is what became of the step to the persisted limit in this boot.
type bootStep struct {
	looked bool // it was looked for
	// reason is why a guard refused it; empty: none did. limit was in force then, and it is tried again at again.
	reason remediate.Reason
	limit  uint64
	again  time.Time
}

// boot applies the persisted limit once per boot, in remediate mode, through the guards. It is tried until the table is
// there; where a guard refuses it, until it does no more, unless somebody else sets the limit meanwhile.
func (a *Agent) boot() {
	now, last := time.Now(), a.booted
	if a.unloaded {
		last = bootStep{}
	}
	due := !last.looked || last.reason != "" && !now.Before(last.again)
	if !due || a.cfg.Policy.Mode != remediate.ModeRemediate {
		return
	}
	limits, err := a.table.Limits()
	if err != nil {
		return // the table is not there yet
	}
	refused := last.reason != "" && last.limit == limits.Max
	anew := a.unloaded || !last.looked && !a.applier.BootApplied()
	a.booted, a.unloaded = bootStep{looked: true}, false
	if !anew && !refused {
		a.noteIf(noteBoot, nil)
		return
	}
	p, ok, err := a.applier.Persisted()
	if err != nil {
		a.noteIf(noteBoot, err)
		return
	}
	// A boot that had nothing to apply is done with too: what is persisted later is in force already, and if somebody
	// lowers the limit after that, it stands.
	if ok && limits.Max < p.Max && !a.applyPersisted(p.Max, limits, last.reason) {
		return
	}
	a.noteIf(noteBoot, nil)
	a.noteIf(noteBootMark, a.applier.MarkBootApplied())
}

// applyPersisted takes the step to the persisted limit, which was refused before for that reason, if it was. It returns
// false where it was not taken.
func (a *Agent) applyPersisted(to uint64, limits remediate.Limits, before remediate.Reason) bool {
	now := time.Now()
	ask := remediate.Ask{Reason: remediate.ReasonBoot, To: to}
	ask.Reading.NetNS = a.initNetNS()
	d := a.decide(now, ask, limits)
	if !d.Do {
		a.booted = bootStep{looked: true, reason: d.Reason, limit: limits.Max, again: now.Add(bootAgain)}
		if d.Reason != before {
			a.refuseBoot(now, d, to)
		}
		return false
	}
	if _, err := a.apply(d); err != nil {
		a.noteIf(noteBoot, fmt.Errorf("apply the persisted limit %d: %w", to, err))
		return false
	}
	return true
}

// refuseBoot tells that the persisted limit was not applied.
func (a *Agent) refuseBoot(now time.Time, d remediate.Decision, to uint64) {
	a.countStep("refused", d.Reason)
	text, why := d.Reason.Text(), ""
	if d.Held != nil {
		text, why = d.Held.Text(), d.Held.Text()
	}
	a.queue(a.tracker.Event(now, remediate.EventStepRefused, remediate.Step{
		At: now, From: d.From, To: to, Ceiling: a.cfg.Policy.Ceiling, Reason: d.Reason,
		Trigger: remediate.ReasonBoot, Mode: a.cfg.Policy.Mode, NetNS: d.NetNS, Error: why,
	}))
	a.noteIf(noteBoot, fmt.Errorf("the persisted limit %d was not applied: %s: %s; it is tried again", to, d.Reason, text))
}
