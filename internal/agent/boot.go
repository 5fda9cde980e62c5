package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// bootAgain is how long after a refusal the persisted limit is tried again.
const bootAgain = 10 * time.Second

// bootStep is what became of the step to the persisted limit in this boot.
type bootStep struct {
	looked bool // it was looked for
	// refused tells that a guard refused it: it is tried again at again. told are the reasons that were told.
	refused bool
	again   time.Time
	told    []remediate.Reason
}

// boot applies the persisted limit once per boot, in remediate mode, through the guards. It is tried until the table is
// there; where a guard refuses it, until it does no more, or somebody else sets the limit ([Agent.bootOvertaken]).
func (a *Agent) boot() {
	now := time.Now()
	if a.unloaded {
		a.booted = bootStep{}
	}
	if a.booted.looked && (!a.booted.refused || now.Before(a.booted.again)) || a.cfg.Policy.Mode != remediate.ModeRemediate {
		return
	}
	limits, err := a.table.Limits()
	if err != nil {
		return // the table is not there yet
	}
	if first := a.initSpace(); a.booted.refused && (first == nil || first.last.Max != limits.Max) {
		return // somebody has just set it: the next reading tells
	}
	due := a.unloaded || a.booted.refused || !a.applier.BootApplied()
	a.booted.looked, a.booted.refused, a.unloaded = true, false, false
	if !due {
		return
	}
	p, ok, err := a.applier.Persisted()
	if err != nil {
		a.noteIf(noteBoot, err)
		return
	}
	// A boot that had nothing to apply is done with too: what is persisted later is in force already, and if somebody
	// lowers the limit after that, it stands.
	if ok && limits.Max < p.Max && !a.applyPersisted(p.Max, limits) {
		return
	}
	a.bootDone()
}

// bootOvertaken takes that somebody else has set the limit: what is persisted and was refused waits no longer.
func (a *Agent) bootOvertaken() {
	if a.booted.refused {
		a.booted.refused = false
		a.bootDone()
	}
}

func (a *Agent) bootDone() {
	a.noteIf(noteBoot, nil)
	a.noteIf(noteBootMark, a.applier.MarkBootApplied())
}

// applyPersisted takes the step to the persisted limit. It returns false where it was not taken.
func (a *Agent) applyPersisted(to uint64, limits remediate.Limits) bool {
	now := time.Now()
	ask := remediate.Ask{Reason: remediate.ReasonBoot, To: to}
	ask.Reading.NetNS = a.initNetNS()
	d := a.decide(now, ask, limits)
	if !d.Do {
		a.booted.refused, a.booted.again = true, now.Add(bootAgain)
		a.refuseBoot(now, d, to)
		return false
	}
	if _, err := a.apply(d); err != nil {
		a.noteIf(noteBoot, fmt.Errorf("apply the persisted limit %d: %w", to, err))
		return false
	}
	return true
}

// refuseBoot tells that the persisted limit was not applied, once a reason.
func (a *Agent) refuseBoot(now time.Time, d remediate.Decision, to uint64) {
	if slices.Contains(a.booted.told, d.Reason) {
		return
	}
	a.booted.told = append(a.booted.told, d.Reason)
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
