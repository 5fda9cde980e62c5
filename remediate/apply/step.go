package apply

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ctwarden/ctwarden/remediate"
)

// StepMeta is what a step is recorded with beside the decision.
type StepMeta struct {
	// ID names the step; it must be unique in this boot and not empty.
	ID      string
	Mode    remediate.Mode
	Ceiling uint64
	// Incident is the step's incident as the caller wants it back from [Applier.Recover], in JSON; empty: there is none.
	Incident []byte
}

// Step carries out a decision: it resizes the hash where d.Buckets is more than it has, then raises the limit from
// d.From to d.To. With d.To equal to d.From only the hash is resized.
//
// The step that comes back is complete whether or not there is an error; its Keys are as read back. Without an error
// the kernel has d.To under both names. With [ErrChanged] the limit was not written; [ErrReadOnly] says that it cannot
// be; after [ErrReadBack] it is neither certain nor repaired. Whatever the outcome, the caller commits it and then
// calls [Applier.Forget].
func (a *Applier) Step(d remediate.Decision, m StepMeta) (remediate.Step, error) {
	in := intent{
		ID: m.ID, Kind: kindStep, Buckets: d.Buckets,
		Step: remediate.Step{
			ID: m.ID, IncidentID: d.IncidentID, At: a.cfg.Now(), From: d.From, To: d.To, Ceiling: m.Ceiling,
			Reason: d.Reason, Trigger: d.Trigger, Mode: m.Mode, NetNS: d.NetNS,
		},
	}
	if len(m.Incident) <= maxIntentIncident {
		in.Incident = m.Incident
	}
	if err := checkStep(d, m); err != nil {
		return in.fail(err)
	}
	return a.carryOut(in)
}

// checkStep is the last guard before a write, for a decision that should never have been made.
func checkStep(d remediate.Decision, m StepMeta) error {
	switch {
	case !d.Do:
		return fmt.Errorf("%w: the decision is not to step (%s)", ErrInvalid, d.Reason)
	case m.ID == "":
		return fmt.Errorf("%w: a step without an id", ErrInvalid)
	case d.From == 0 || d.To < d.From || d.To > remediate.MaxLimit || d.Buckets > remediate.MaxLimit:
		return fmt.Errorf("%w: from %d to %d, buckets %d", ErrInvalid, d.From, d.To, d.Buckets)
	case d.To == d.From && d.Buckets == 0:
		return fmt.Errorf("%w: the limit is %d already", ErrInvalid, d.To)
	case m.Ceiling > 0 && d.To > max(m.Ceiling, d.From):
		return fmt.Errorf("%w: %d is above the ceiling of %d", ErrInvalid, d.To, m.Ceiling)
	}
	return nil
}

// Floor is the lowest limit that an undo may leave with live entries in the fullest namespace: a quarter more than
// are in use, so that the undo does not itself cause refusals.
func Floor(live uint64) uint64 { return live + (live+3)/4 }

// undoSuffix ends the id of an undo.
const undoSuffix = ".undo"

// UndoID names the undo of a step.
func UndoID(stepID string) string { return stepID + undoSuffix }

// UndoneID is the id of the step that an undo of that id takes back.
func UndoneID(undoID string) string { return strings.TrimSuffix(undoID, undoSuffix) }

// UndoMeta is what an undo needs to know beside the step.
type UndoMeta struct {
	// To is the limit to go back to. Live is the largest number of entries of any one namespace.
	To, Live uint64
	// Reason says why, Mode and Ceiling are as of now.
	Reason  remediate.Reason
	Mode    remediate.Mode
	Ceiling uint64
}

// Undo lowers the limit from step.To to m.To, if the kernel still has what the step wrote ([ErrChanged]), and never
// below [Floor] of m.Live ([ErrTooLow]). The hash keeps its size.
//
// The step that comes back is the undo: its id is [UndoID] of the one undone, its incident the same, its From that
// one's To.
func (a *Applier) Undo(step remediate.Step, m UndoMeta) (remediate.Step, error) {
	undo := step
	undo.ID, undo.At, undo.From, undo.To = UndoID(step.ID), a.cfg.Now(), step.To, m.To
	undo.Reason, undo.Mode, undo.Ceiling, undo.Trigger = m.Reason, m.Mode, m.Ceiling, ""
	undo.Keys, undo.TookUS, undo.Outcome, undo.Persisted, undo.Error = nil, 0, "", "", ""
	in := intent{ID: undo.ID, Kind: kindUndo, Step: undo}
	switch floor := Floor(m.Live); {
	case step.ID == "":
		return in.fail(fmt.Errorf("%w: a step without an id", ErrInvalid))
	case m.To == 0 || m.To >= step.To || step.To > remediate.MaxLimit:
		return in.fail(fmt.Errorf("%w: undo from %d to %d", ErrInvalid, step.To, m.To))
	case m.To < floor:
		return in.fail(fmt.Errorf("undo to %d: %w: %d entries are in use, and the limit stays at least at %d",
			m.To, ErrTooLow, m.Live, floor))
	}
	return a.carryOut(in)
}

// carryOut journals and does what the intent says.
func (a *Applier) carryOut(in intent) (remediate.Step, error) {
	in.BootID, in.State = a.cfg.BootID, stateIntended
	if err := a.saveIntent(in); err != nil {
		return in.fail(err)
	}
	a.cfg.Fail(StageIntent)
	err := a.write(&in)
	in.State = stateDone
	if err != nil {
		in.State, in.Step.Error = stateFailed, err.Error()
	}
	// An outcome that cannot be recorded is no failure of the step: Recover works it out from the kernel's values.
	if a.saveIntent(in) == nil {
		a.cfg.Fail(StageOutcome)
	}
	return in.Step, err
}

// write brings the kernel to what the intent says and fills in what came of it.
func (a *Applier) write(in *intent) error {
	s := &in.Step
	v, err := a.readExpecting(s.From)
	s.Keys = v.keys(in.Buckets > 0)
	if err != nil {
		return err
	}
	start := a.cfg.Now()
	if in.Buckets > v.buckets {
		if err := a.resize(v.buckets, in.Buckets); err != nil {
			return err
		}
		a.cfg.Fail(StageBuckets)
		// A resize takes up to a second, long enough for somebody else to write.
		v, err = a.readExpecting(s.From)
		s.Keys = v.keys(true)
		if err != nil {
			return err
		}
	}
	var second error
	if s.To != s.From {
		if err := a.set(KeyMax, s.To); err != nil {
			return err
		}
		a.cfg.Fail(StageFirstKey)
		if v.hasOld {
			second = a.set(KeyOldMax, s.To)
		}
		a.cfg.Fail(StageBothKeys)
	}
	s.TookUS = a.cfg.Now().Sub(start).Microseconds()
	back, err := a.read()
	if err != nil {
		return errors.Join(second, err)
	}
	a.cfg.Fail(StageReadBack)
	s.Keys = back.keys(in.Buckets > 0)
	// The names are of one variable: a second write that failed matters only if it shows.
	if !back.is(s.To) {
		return errors.Join(second, fmt.Errorf("set the limit to %d: %w: %v", s.To, ErrReadBack, back))
	}
	return nil
}

// readExpecting reads the settings and fails with ErrChanged unless the limit is n. It gives what it read either way.
func (a *Applier) readExpecting(n uint64) (values, error) {
	v, err := a.read()
	if err == nil && !v.is(n) {
		err = fmt.Errorf("%w: %v, expected %d", ErrChanged, v, n)
	}
	return v, err
}
