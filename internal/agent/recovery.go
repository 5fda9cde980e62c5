package agent

import (
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// takeRecovery books what an earlier run left between intent and outcome. Its events were not saved then, unless the
// step is in the journal of steps: then the kill came between the commit and the removal of the intent.
func (a *Agent) takeRecovery(r apply.Recovery) {
	s, text := r.Step, r.Text
	s.ID = r.ID
	known, ok := a.journalled(s.ID)
	saved := ok && (written(known) || r.Result != apply.ResultDone)
	if saved {
		text = "step " + s.ID + " was saved, and what was left of its intent is removed"
	}
	a.cfg.Log.Warn("unfinished step", zap.String("step", r.ID), zap.String("text", text))
	a.recovered = append(a.recovered, text)
	if r.ID == "" {
		return // a damaged intent, which is set aside
	}
	if s.From == s.To {
		a.takeHash(r)
		return
	}
	a.markBoot(r)
	if saved && r.Undo && isRevert(known) {
		a.finishRevert(known) // the sysctl.d file may not have followed
		return
	}
	if saved {
		a.dropIntent(s.ID)
		return
	}
	a.reopen(r)
	switch {
	case r.Result == apply.ResultDone && r.Undo:
		a.finishUndo(s)
		return
	case r.Result == apply.ResultDone:
		a.queue(a.tracker.Applied(time.Now(), s, r.Resized)...)
	case r.Result == apply.ResultFailed && !r.Undo:
		a.queue(a.tracker.Failed(time.Now(), s)...)
	}
	a.keep(s)
}

// reopen takes the incident of a recovered step, where it was not saved either.
func (a *Agent) reopen(r apply.Recovery) {
	if r.Undo || r.Result == apply.ResultOtherBoot || len(r.Incident) == 0 {
		return
	}
	events, err := a.tracker.Reopen(time.Now(), r.Incident)
	if err != nil {
		a.cfg.Log.Error("incident not reopened", zap.String("step", r.ID), zap.Error(err))
	}
	a.queue(events...)
}

// finishUndo books an undo that a kill cut short, and does what was to follow it: the outcome of a step that did not
// help, the sysctl.d file of one that an operator takes back.
func (a *Agent) finishUndo(back remediate.Step) {
	undone, ok := a.journalled(apply.UndoneID(back.ID))
	if ok && back.Reason == remediate.ReasonIneffective && undone.Outcome == "" {
		undone.Outcome = remediate.OutcomeIneffective
		a.confirm(undone)
	}
	a.queue(a.tracker.Reverted(time.Now(), back)...)
	a.keep(back)
	if isRevert(back) {
		a.finishRevert(back)
	}
}

// finishRevert has the sysctl.d file follow a revert that an earlier run made.
func (a *Agent) finishRevert(back remediate.Step) {
	first, meta := a.allUndone(back), a.persistMeta()
	a.following[back.ID] = true
	a.recorder.do(func() { a.bringBack(back, meta, first) })
}

// markBoot marks the boot where the step to the persisted limit, or a revert, was written before the kill: the persisted
// limit is applied once a boot, and what somebody set since then stands.
func (a *Agent) markBoot(r apply.Recovery) {
	settled := r.Result == apply.ResultDone || r.Result == apply.ResultLeftAlone
	if settled && (r.Step.Reason == remediate.ReasonBoot || r.Undo) {
		a.noteIf(noteBootMark, a.applier.MarkBootApplied())
	}
}

// bookPersisted books the outcome of a step that an earlier run, perhaps of another boot, had made to last when it was
// killed: it was effective, or the sysctl.d file would not be its.
func (a *Agent) bookPersisted() {
	file, there, err := a.applier.Persisted()
	if err != nil || !there {
		return // that is said where the file is to be applied or replaced
	}
	s, ok := a.journalled(file.StepID)
	if !ok || s.Outcome != "" || s.To < s.From { // a taking back has no outcome
		return
	}
	s.Outcome, s.Persisted = remediate.OutcomeEffective, file.Path
	a.recovered = append(a.recovered, "step "+s.ID+" had been made to last in "+file.Path+"; its outcome is booked now")
	a.confirm(s)
}

// journalled looks a step up in the journal of steps.
func (a *Agent) journalled(id string) (remediate.Step, bool) {
	for _, s := range a.steps {
		if s.ID == id {
			return s, true
		}
	}
	return remediate.Step{}, false
}

// written tells whether the kernel had the step's limit when it was read back.
func written(s remediate.Step) bool { return s.Keys[apply.KeyMax] == s.To }
