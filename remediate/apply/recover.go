package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ctwarden/ctwarden/remediate"
)

// Result is what became of a step that a crash cut short.
type Result string

// The results.
const (
	ResultDone       Result = "done"        // the kernel has the new limit
	ResultFailed     Result = "failed"      // the step had failed before the crash
	ResultNotWritten Result = "not_written" // the kernel has the old limit
	ResultLeftAlone  Result = "left_alone"  // the kernel has another value, which is not touched
	ResultOtherBoot  Result = "other_boot"  // the intent is of another boot, whose values are gone
	ResultDamaged    Result = "damaged"     // the intent's file could not be read and was set aside
)

// Recovery is one intent found at the start.
type Recovery struct {
	// ID is the intent's, for [Applier.Forget]; empty for a damaged file, which is set aside already.
	ID string
	// Undo is true for the undo of a step.
	Undo bool
	// Step is what was intended, its Keys as the kernel has them now or as it was recorded; zero for a damaged file. Its
	// Keys are empty where the boot in which they held is over.
	Step remediate.Step
	// Resized is true where the hash was to be resized too. Where the step's From and To are the same, it alone was.
	Resized bool
	// Incident is what StepMeta.Incident was.
	Incident []byte
	Result   Result
	// Text says for a person what was found and done.
	Text string
}

// Recover settles the intents that are left from before a crash: it tells from the kernel's values whether each step
// was done, and writes the second name of the limit where the crash came between the two. It never writes over a
// value that is not the step's own. Its answers are recorded, so that a second crash changes none; the caller commits
// each and then calls [Applier.Forget] with its ID.
//
// The error tells what could not be settled or recorded; what could be settled is in the list nevertheless.
func (a *Applier) Recover() ([]Recovery, error) {
	a.tidyPersisted()
	a.KeepReserve()
	dir, err := os.OpenRoot(a.cfg.RuntimeDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("recover intents: %w", err)
	}
	defer dir.Close()
	names, err := intentFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("recover intents: %w", err)
	}
	var out []Recovery
	var failed []error
	for _, name := range names {
		r, err := a.recoverFile(dir, name)
		if err != nil {
			failed = append(failed, fmt.Errorf("recover %s: %w", name, err))
		}
		if r.Result != "" {
			out = append(out, r)
		}
	}
	return out, errors.Join(failed...)
}

func (a *Applier) recoverFile(dir *os.Root, name string) (Recovery, error) {
	in, err := loadIntent(dir, name)
	switch {
	case errors.Is(err, ErrDamaged):
		aside := name + ".bad-" + a.cfg.Now().UTC().Format("20060102T150405Z")
		if err := dir.Rename(name, aside); err != nil {
			return Recovery{}, err
		}
		return Recovery{Result: ResultDamaged, Text: fmt.Sprintf("%v; set aside as %s", err, aside)}, nil
	case err != nil:
		return Recovery{}, err
	case in.BootID != a.cfg.BootID:
		return otherBoot(in), nil
	}
	return a.settle(in)
}

// otherBoot drops an intent whose values died with their boot.
func otherBoot(in intent) Recovery {
	r := Recovery{ID: in.ID, Undo: in.Kind == kindUndo, Step: in.Step, Result: ResultOtherBoot}
	r.Text = fmt.Sprintf("a change of the limit from %d to %d was cut short by a reboot, and is dropped: the kernel's limit"+
		" is the boot's own again", in.Step.From, in.Step.To)
	if hashAlone(in.Step) {
		r.Text = "a resize of the hash was cut short by a reboot, and is dropped: the kernel's hash is the boot's own again"
	}
	r.Step.Keys, r.Step.Error = nil, r.Text
	return r
}

// settle finds out what became of an intent of this boot, and finishes it where it was half written.
func (a *Applier) settle(in intent) (Recovery, error) {
	v, err := a.read()
	if err != nil && !errors.Is(err, ErrNoTable) {
		return Recovery{}, err
	}
	there := err == nil
	half := there && in.State == stateIntended && in.Step.From != in.Step.To &&
		v.within(in.Step.From, in.Step.To) && !v.is(in.Step.From) && !v.is(in.Step.To)
	if half {
		if err := a.complete(in.Step.To, v); err != nil {
			return Recovery{}, err
		}
		a.cfg.Fail(StageRepaired)
		if v, err = a.read(); err != nil {
			return Recovery{}, err
		}
	}
	r := judge(in, v, there)
	if half {
		r.Text = "one name of the limit was written before the crash; the other is now: " + r.Text
	}
	if in.State == stateIntended {
		in.Step, in.State = r.Step, string(r.Result)
		if err := a.saveIntent(in); err != nil {
			return r, err
		}
		a.cfg.Fail(StageJudged)
	}
	return r, nil
}

// complete writes the name of the limit that does not have the value n yet.
func (a *Applier) complete(n uint64, v values) error {
	if v.max != n {
		if err := a.set(KeyMax, n); err != nil {
			return err
		}
	}
	if v.hasOld && v.oldMax != n {
		return a.set(KeyOldMax, n)
	}
	return nil
}

// judge says what became of an intent from what it records and what the kernel has. there is false where the kernel
// has no table any more.
func judge(in intent, v values, there bool) Recovery {
	r := Recovery{
		ID: in.ID, Undo: in.Kind == kindUndo, Step: in.Step, Result: Result(in.State), Resized: in.Buckets > 0,
		Incident: in.Incident,
	}
	now := "the module nf_conntrack is not loaded"
	if there {
		now = v.String()
	}
	if in.State == stateIntended {
		r.Result = found(in, v, there)
		if there {
			r.Step.Keys = v.keys(in.Buckets > 0)
		}
	}
	switch hash := hashAlone(in.Step); {
	case hash && r.Result == ResultDone:
		r.Text = fmt.Sprintf("the hash was sized: %s is %d", KeyBuckets, r.Step.Keys[KeyBuckets])
	case hash && r.Result == ResultFailed:
		r.Text = "the hash was not sized: " + in.Step.Error
	case hash:
		r.Text = fmt.Sprintf("the hash was to be sized for %d buckets and was not", in.Buckets)
	case r.Result == ResultDone:
		r.Text = fmt.Sprintf("the limit was set from %d to %d: %s", in.Step.From, in.Step.To, now)
	case r.Result == ResultFailed:
		r.Text = "the step had failed: " + in.Step.Error
	case r.Result == ResultNotWritten:
		r.Text = fmt.Sprintf("the limit was not written and stays at %d", in.Step.From)
	case r.Result == ResultLeftAlone:
		r.Text = fmt.Sprintf("a step from %d to %d was cut short and is left as it is: %s", in.Step.From, in.Step.To, now)
	}
	if r.Result != ResultDone && r.Step.Error == "" {
		r.Step.Error = r.Text
	}
	return r
}

// hashAlone tells whether the hash alone was to be resized.
func hashAlone(s remediate.Step) bool { return s.From == s.To }

// found is the result of an intent whose outcome was not recorded.
func found(in intent, v values, there bool) Result {
	s := in.Step
	switch {
	case !there:
		return ResultLeftAlone
	case hashAlone(s) && v.buckets < in.Buckets:
		return ResultNotWritten
	case hashAlone(s):
		return ResultDone // whatever the limit is by now
	case v.is(s.To):
		return ResultDone
	case v.is(s.From):
		return ResultNotWritten
	}
	return ResultLeftAlone
}
