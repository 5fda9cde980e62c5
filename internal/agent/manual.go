package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// raise takes the step that an operator asks for, through the same guards.
func (a *Agent) raise(to uint64) Reply {
	now := time.Now()
	limits, err := a.table.Limits()
	if err != nil {
		return refusal(remediate.ReasonReadOnly, err.Error())
	}
	if to <= limits.Max {
		return refusal(remediate.ReasonNoPressure, fmt.Sprintf(
			"the limit is %d already; raise never lowers, ctwarden revert takes back what ctwarden wrote", limits.Max))
	}
	ask := remediate.Ask{Reason: remediate.ReasonManual, To: to}
	ask.Reading.NetNS = a.initNetNS()
	d := a.decide(now, ask, limits)
	if !d.Do {
		return refusal(d.Reason, d.Reason.Text())
	}
	s, err := a.apply(d)
	switch {
	case errors.Is(err, apply.ErrReadOnly):
		return refusal(remediate.ReasonReadOnly, err.Error())
	case err != nil:
		return Reply{Text: err.Error()}
	}
	return Reply{Done: true, Reason: d.Reason, Step: &s, Text: fmt.Sprintf(
		"limit raised from %d to %d; it is made to last once two seconds have passed without a refusal", s.From, s.To)}
}

// revert takes back the last step that still stands, or all of them. What is left to do about the sysctl.d file may
// wait for a disk, so it is handed back, to be run by the recorder; it returns what to add to the answer.
func (a *Agent) revert(all bool) (Reply, func() string) {
	limits, err := a.table.Limits()
	if err != nil {
		return refusal(remediate.ReasonReadOnly, err.Error()), nil
	}
	chain := standing(a.steps, limits.Max)
	if len(chain) == 0 {
		return refusal(remediate.ReasonForeignChange, fmt.Sprintf(
			"the limit of %d is not one that ctwarden wrote in this boot; nothing was changed", limits.Max)), nil
	}
	last, to := chain[0], chain[0].From
	if all {
		to = chain[len(chain)-1].From
	}
	back, err := a.undo(last, to, remediate.ReasonManual)
	if err != nil {
		return Reply{Text: err.Error()}, nil
	}
	first, meta := a.allUndone(back), a.persistMeta()
	a.following[back.ID] = true
	return Reply{
		Done: true, Reason: remediate.ReasonManual, Step: &back,
		Text: fmt.Sprintf("limit taken back from %d to %d", back.From, back.To),
	}, func() string { return a.bringBack(back, meta, first) }
}

// isRevert tells whether a step is a taking back that the sysctl.d file follows: an operator's, or a decay.
func isRevert(s remediate.Step) bool {
	return s.To < s.From && (s.Reason == remediate.ReasonManual || s.Reason == remediate.ReasonDecay)
}

// bringBack has the sysctl.d file follow a revert, and only then lets go of the revert's intent: a kill before that has
// the next start do it again.
func (a *Agent) bringBack(back remediate.Step, meta apply.PersistMeta, first bool) string {
	text := a.persistBack(back, meta, first)
	a.cfg.Log.Info("persisted limit follows the revert", zap.String("step", back.ID), zap.String("text", text))
	a.afterwards(func() {
		delete(a.following, back.ID)
		a.save(true)                                                       // also where it waits for a writer's name
		a.recorder.add(state.Change{}, func() { a.forgetIntent(back.ID) }) // behind the revert itself
	})
	return text
}

// allUndone tells whether no step of ctwarden's stands any more after an undo, which is in the journal of steps already.
func (a *Agent) allUndone(back remediate.Step) bool { return len(standing(a.steps, back.To)) == 0 }

// persistBack brings the sysctl.d file in line with a limit taken back: gone with the first step, else the new limit. It
// returns what came of it, for the operator.
func (a *Agent) persistBack(back remediate.Step, meta apply.PersistMeta, first bool) string {
	if first {
		removed, err := a.lasting().Unpersist()
		switch {
		case err != nil && removed:
			return fmt.Sprintf("; %s removed, but: %v", a.cfg.PersistFile, err)
		case err != nil:
			return fmt.Sprintf("; the persisted limit was not removed: %v", err)
		case removed:
			return fmt.Sprintf("; %s removed", a.cfg.PersistFile)
		}
		return ""
	}
	_, ok, err := a.applier.Persisted()
	if err == nil && ok {
		_, err = a.lasting().Persist(back, meta)
	}
	switch {
	case err != nil:
		return fmt.Sprintf("; the persisted limit was not lowered: %v", err)
	case ok:
		return fmt.Sprintf("; %s rewritten", a.cfg.PersistFile)
	}
	return ""
}

// standing returns the chain of ctwarden's steps that led to the limit, the newest first; empty where the limit is not
// one that they led to. A step that was undone, that was not written, or that somebody's own change came after, is not
// in it.
func standing(steps []remediate.Step, limit uint64) []remediate.Step {
	var chain []remediate.Step
	for _, s := range steps {
		switch n := len(chain); {
		case !written(s):
		case s.To < s.From:
			chain = slices.DeleteFunc(chain, func(c remediate.Step) bool { return c.From >= s.To })
			if n := len(chain); n > 0 && chain[n-1].To > s.To {
				chain[n-1].To = s.To // a decay takes back a part of a step
			}
		case n > 0 && chain[n-1].To != s.From:
			chain = []remediate.Step{s}
		default:
			chain = append(chain, s)
		}
	}
	if n := len(chain); n == 0 || chain[n-1].To != limit {
		return nil
	}
	slices.Reverse(chain)
	return chain
}

// initSpace is the first namespace under watch; nil: it was not found yet.
func (a *Agent) initSpace() *space {
	for _, s := range a.spaces {
		if s.ns.Init {
			return s
		}
	}
	return nil
}

// initNetNS is the first namespace as known.
func (a *Agent) initNetNS() remediate.NetNS {
	if s := a.initSpace(); s != nil {
		return s.ns
	}
	return remediate.NetNS{Name: "init", Init: true}
}

func refusal(reason remediate.Reason, text string) Reply {
	return Reply{Reason: reason, Text: text}
}
