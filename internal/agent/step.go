package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// After a failed write no other is tried for retryStep, doubled with each failure up to retryStepMax.
const (
	retryStep    = time.Second
	retryStepMax = time.Minute
)

// step decides on what asks for a step and carries the decision out. It runs straight after the readings, before
// anything that may block.
func (a *Agent) step() {
	now := time.Now()
	asks := slices.DeleteFunc(a.tracker.Asks(now), func(ask remediate.Ask) bool { return a.standsStill(now, ask) })
	if len(asks) == 0 || now.Before(a.stepAfter) {
		return
	}
	limits, err := a.table.Limits()
	if err != nil {
		a.noteIf(noteTable, err)
		return
	}
	for _, ask := range asks {
		d := a.decide(now, ask, limits)
		if !d.Do {
			a.refuse(d)
			continue
		}
		if _, err := a.apply(d); err == nil {
			return
		}
	}
}

// standsStill deals with what asks for a step and needs none, whatever the host is like: a table that stands high does so
// at each reading, and the settings and the hold are not read for it two hundred times a second.
func (a *Agent) standsStill(now time.Time, ask remediate.Ask) bool {
	d := remediate.Decide(a.cfg.Policy, remediate.Situation{Now: now, Ask: ask, Limits: remediate.Limits{Max: ask.Reading.Max}})
	if d.Reason != remediate.ReasonNoPressure {
		return false
	}
	a.refuse(d)
	return true
}

// decide decides about a step. What nobody can see is counted where the hash is to be resized, and only there.
func (a *Agent) decide(now time.Time, ask remediate.Ask, limits remediate.Limits) remediate.Decision {
	s := a.situation(now, ask, limits)
	d := remediate.Decide(a.cfg.Policy, s)
	if d.Buckets > 0 {
		s.Hidden = a.hiddenNow(now)
		d = remediate.Decide(a.cfg.Policy, s)
	}
	return d
}

// situation gathers what Decide may know.
func (a *Agent) situation(now time.Time, ask remediate.Ask, limits remediate.Limits) remediate.Situation {
	return remediate.Situation{
		Now: now, Ask: ask, Limits: limits, Memory: a.memoryNow(now), Chains: a.chains.Counted(a.table.CountsChains()),
		OtherPeaks: a.tracker.Peaks(ask.Reading.NetNS.Inode),
		Held:       a.heldNow(now), ForeignAt: a.tracker.ForeignAt(), Foreign: a.tracker.Foreign(now), StepTimes: a.tracker.StepTimes(),
		Entries: a.entries(), Fullest: a.live(), StallPerEntry: a.hash.stallPerEntry(), Refusing: a.refusing(),
		HashSet: a.hash.Set, ResizeFailedAt: a.hash.failed,
	}
}

// What the host has is read anew where the last reading is memoryFresh old. Where a table stands high it is read every
// memoryAhead, so that no step has to wait for it: that takes a third of a millisecond.
const (
	memoryFresh = 2 * time.Second
	memoryAhead = time.Second
)

// memoryNow is what the host has.
func (a *Agent) memoryNow(now time.Time) remediate.Memory {
	a.readMemory(now, memoryFresh)
	return a.memory
}

// readMemoryAhead reads what the host has where a step may be near.
func (a *Agent) readMemoryAhead(now time.Time) {
	for _, s := range a.spaces {
		if s.last.Fill() >= countersShare {
			a.readMemory(now, memoryAhead)
			return
		}
	}
}

// readMemory reads what the host has, unless the last reading is younger than that.
func (a *Agent) readMemory(now time.Time, than time.Duration) {
	if now.Sub(a.memoryAt) < than {
		return
	}
	m, err := a.table.Memory()
	a.noteIf(noteMemory, err)
	if err == nil {
		a.memory, a.memoryAt = m, now
	}
}

// heldNow is the hold that is in force, the host's own or the fleet's; nil: none.
func (a *Agent) heldNow(now time.Time) *remediate.Hold {
	if own := a.ownHeldNow(now); own.Active(now) {
		return own
	}
	return a.fleetHeldNow(now)
}

// ownHeldNow reads the host's own hold, afresh each time: it is a plain file that may come at any moment.
func (a *Agent) ownHeldNow(now time.Time) *remediate.Hold {
	held, err := a.holds.read(now)
	a.noteIf(noteHold, err)
	return held
}

// refuse books a decision not to step.
func (a *Agent) refuse(d remediate.Decision) {
	events := a.tracker.Refused(time.Now(), a.cfg.Policy, d)
	if len(events) > 0 {
		a.countStep("refused", d.Reason)
	}
	a.queue(events...)
}

// apply writes the limit and books what came of it.
func (a *Agent) apply(d remediate.Decision) (remediate.Step, error) {
	now := time.Now()
	incident, err := a.tracker.Ongoing(d.IncidentID)
	if err != nil {
		a.cfg.Log.Error("incident not journalled with its step", zap.Error(err))
	}
	s, err := a.applier.Step(d, apply.StepMeta{
		ID: a.nextStepID(now), Mode: a.cfg.Policy.Mode, Ceiling: a.cfg.Policy.Ceiling, Incident: incident,
	})
	switch {
	case errors.Is(err, apply.ErrChanged):
		// Somebody wrote the limit since it was read: the next reading sees it, and the decision is made anew.
		a.stepAfter = now.Add(remediate.MinPeriod)
		a.dropIntent(s.ID)
		return s, err
	case errors.Is(err, apply.ErrReadOnly):
		d.Reason = remediate.ReasonReadOnly
		a.refuse(d)
		a.dropIntent(s.ID)
		a.backOff(now)
		return s, err
	case err != nil:
		a.backOff(now)
		a.countStep("failed", d.Reason)
		if events := a.tracker.Failed(now, s); len(events) > 0 {
			a.queue(events...)
			a.keep(s)
		} else {
			a.dropIntent(s.ID)
		}
		return s, err
	}
	a.stepFails = 0
	a.countStep("applied", d.Reason)
	a.queue(a.tracker.Applied(time.Now(), s, d.Buckets > 0)...)
	a.keep(s)
	a.readSoon() // nothing is asked for until a table was read under the new limit
	return s, nil
}

// readSoon has every table read in the next turn: it may fill up sooner, or later, under another limit, and a step may
// follow under another policy where none could.
func (a *Agent) readSoon() {
	now := time.Now()
	for _, space := range a.spaces {
		space.next = now
	}
}

// backOff puts off the next try after one that failed, ever longer, once in a turn however many tables asked in it.
func (a *Agent) backOff(now time.Time) {
	if now.Before(a.stepAfter) {
		return
	}
	a.stepAfter = now.Add(min(retryStep<<min(a.stepFails, 10), retryStepMax))
	a.stepFails++
}

// dropIntent removes the intent of a step that is not worth a place in the journal of steps.
func (a *Agent) dropIntent(id string) {
	if err := a.applier.Forget(id); err != nil {
		a.noteIf(noteIntent, err)
	}
}

// nextStepID names a step in the journal of steps.
func (a *Agent) nextStepID(now time.Time) string {
	a.stepSeq++
	return fmt.Sprintf("%s-%d", now.UTC().Format("20060102T150405.000000"), a.stepSeq)
}

// settle looks whether the last step's outcome is known. One that helped is made to last, one that did not is undone.
func (a *Agent) settle() {
	now := time.Now()
	s, ok := a.tracker.Settle(now)
	if !ok {
		return
	}
	why := a.mayNotWrite(now, s)
	if s.Outcome == remediate.OutcomeIneffective {
		if why == "" && s.Reason != remediate.ReasonManual {
			why = a.tooFull(s.From)
		}
		if why != "" {
			s.Error += "; not undone: " + why
		}
		a.confirm(s)
		if s.Reason == remediate.ReasonManual || why != "" {
			return // an operator's own step is the operator's to undo
		}
		if back, err := a.undo(s, s.From, remediate.ReasonIneffective); err != nil {
			a.cfg.Log.Error("step not undone", zap.Uint64("limit", s.To), zap.Error(err))
			a.countStep("failed", remediate.ReasonIneffective)
			a.queue(a.tracker.Failed(time.Now(), back)...)
		}
		return
	}
	if !a.cfg.Policy.Persist {
		a.confirm(s)
		return
	}
	if why != "" {
		s.Error = "not persisted: " + why
		a.confirm(s)
		return
	}
	if limits, err := a.table.Limits(); err == nil && limits.Max < s.To {
		s.Error = fmt.Sprintf("not persisted: somebody else set the limit to %d meanwhile", limits.Max)
		a.confirm(s)
		return
	}
	a.persist(s)
}

// mayNotWrite tells why nothing more may be written on account of an automatic step: the mode or a hold may have come
// since it was taken. Empty: it may.
func (a *Agent) mayNotWrite(now time.Time, s remediate.Step) string {
	switch {
	case s.Reason == remediate.ReasonManual:
		return ""
	case a.cfg.Policy.Mode != remediate.ModeRemediate:
		return remediate.ReasonObserveMode.Text()
	}
	if held := a.heldNow(now); held != nil {
		return held.Text()
	}
	return ""
}

// confirm books a step with its outcome, and the file that it was persisted in.
func (a *Agent) confirm(s remediate.Step) {
	a.queue(a.tracker.Confirmed(time.Now(), s)...)
}

// undo takes a step back to a lower limit, if the limit is still what the step wrote and live use allows it.
func (a *Agent) undo(s remediate.Step, to uint64, reason remediate.Reason) (remediate.Step, error) {
	a.readCounts()
	back, err := a.applier.Undo(s, apply.UndoMeta{
		To: to, Live: a.live(), Reason: reason, Mode: a.cfg.Policy.Mode, Ceiling: a.cfg.Policy.Ceiling,
	})
	if err != nil {
		a.dropIntent(back.ID) // said by whoever asked for the undo
		return back, err
	}
	a.countStep("reverted", reason)
	a.queue(a.tracker.Reverted(time.Now(), back)...)
	a.keep(back)
	a.readSoon()
	return back, nil
}

// tooFull tells why the limit cannot be taken back to that value. Empty: it can.
func (a *Agent) tooFull(to uint64) string {
	a.readCounts()
	live := a.live()
	if floor := apply.Floor(live); to < floor {
		return fmt.Sprintf("%d entries are in use, and the limit stays at least at %d", live, floor)
	}
	return ""
}

// readCounts counts every table anew, since the last counts may be seconds old.
func (a *Agent) readCounts() {
	for _, space := range a.spaces {
		a.read(space)
	}
}

// countStep keeps the totals that the metrics show.
func (a *Agent) countStep(result string, reason remediate.Reason) {
	for i, t := range a.stepTotals {
		if t.Result == result && t.Reason == reason {
			a.stepTotals[i].Count++
			return
		}
	}
	a.stepTotals = append(a.stepTotals, StepTotal{Result: result, Reason: reason, Count: 1})
}
