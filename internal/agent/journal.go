package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// keptSteps is how many steps the journal of steps holds in memory.
const keptSteps = 1000

// keep books a step in the journal of steps: a new one, or one whose outcome has become known.
func (a *Agent) keep(s remediate.Step) {
	a.unkept = append(a.unkept, s)
	for i := len(a.steps) - 1; i >= 0; i-- {
		if a.steps[i].ID == s.ID {
			a.steps[i] = s
			return
		}
	}
	a.steps = append(a.steps, s)
	if over := len(a.steps) - keptSteps; over > 0 {
		a.steps = a.steps[over:]
	}
}

func (a *Agent) encodeTracker() []byte {
	b, err := json.Marshal(a.tracker.State())
	if err != nil {
		a.cfg.Log.Error("open incidents not saved", zap.Error(err))
		return nil
	}
	return b
}

func encodeStep(s remediate.Step) (state.Record, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return state.Record{}, fmt.Errorf("encode step %s: %w", s.ID, err)
	}
	return state.Record{ID: s.ID, JSON: b}, nil
}

// forgetIntents returns what drops the intents of steps once these are in the state file. That of a revert stays until
// the sysctl.d file has followed, see [Agent.bringBack].
func (a *Agent) forgetIntents(steps []remediate.Step) func() {
	steps = slices.DeleteFunc(slices.Clone(steps), func(s remediate.Step) bool { return a.following[s.ID] })
	if len(steps) == 0 {
		return nil
	}
	return func() {
		for _, s := range steps {
			a.forgetIntent(s.ID)
		}
	}
}

// forgetIntent drops one intent, in the recorder's goroutine.
func (a *Agent) forgetIntent(id string) {
	if err := a.applier.Forget(id); err != nil {
		a.cfg.Log.Warn("intent not removed", zap.String("step", id), zap.Error(err))
	}
}

// persist has the recorder write the sysctl.d file, and books the step with what came of it.
func (a *Agent) persist(s remediate.Step) {
	meta := a.persistMeta()
	a.recorder.do(func() {
		res, err := a.lasting().Persist(s, meta)
		a.afterwards(func() {
			_, undone := a.journalled(apply.UndoID(s.ID))
			switch {
			case undone: // meanwhile; the file follows, or is gone
				s.Error = "not persisted: it was taken back meanwhile"
			case err != nil:
				s.Error = err.Error()
				a.noteIf(notePersist, err)
			case res.Withdrawn != nil:
				err := fmt.Errorf("not persisted: %s sets %d already, and ctwarden lowers nothing",
					res.Withdrawn.By, res.Withdrawn.Value)
				s.Error = err.Error()
				a.noteIf(notePersist, err)
			default:
				s.Persisted = res.Path
				a.noteIf(notePersist, overridden(res))
			}
			a.confirm(s)
		})
	})
}

// overridden tells of a line elsewhere that has the last word over the persisted limit, and of a module that may be loaded
// after it.
func overridden(res apply.Persistence) error {
	var errs []error
	for _, o := range res.Overridden {
		if o.By == "" {
			errs = append(errs, fmt.Errorf("%s is not read by %s: put persist_file below /etc/sysctl.d", res.Path, o.Loader))
			continue
		}
		errs = append(errs, fmt.Errorf("%s has %d, but under %s the line %s sets %d after it: remove that line",
			res.Path, res.Max, o.Loader, o.By, o.Value))
	}
	if res.LoadsLate != "" {
		errs = append(errs, fmt.Errorf("%s has %d, and is lost at a boot where the module nf_conntrack is loaded late, until this agent "+
			"applies it: %s", res.Path, res.Max, res.LoadsLate))
	}
	return errors.Join(errs...)
}

// persistMeta says what besides the limit has to last: the hash, once ctwarden has sized it.
func (a *Agent) persistMeta() apply.PersistMeta {
	m := apply.PersistMeta{Buckets: a.hash.Ours}
	for _, s := range a.steps {
		m.Buckets = max(m.Buckets, s.Keys[apply.KeyBuckets])
	}
	return m
}

// afterwards hands f from the recorder to the loop, or runs it where no loop was ever started. When the loop has ended
// f is dropped: the step is still pending in the state, and the next start settles it again.
func (a *Agent) afterwards(f func()) {
	if !a.started.Load() {
		f()
		return
	}
	select {
	case a.calls <- f:
	case <-a.ended:
	}
}
