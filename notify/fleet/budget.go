package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

const hour = int64(time.Hour)

// budget counts the automatic steps of the fleet in the last hour. It is made of the steps that are saved with their hosts.
type budget struct {
	// times are those of the newest steps in ns, in order: as many as an hour may have.
	times []int64
	// until is when the hour has room again; 0: it has.
	until int64
	group *group
	next  int64
	// released is the group for which somebody released the fleet, and resumes when it may be held again for it.
	released string
	resumes  int64
}

// note takes a step of that time.
func (b *budget) note(at, now int64, most int) {
	if most <= 0 || now-at >= hour {
		return
	}
	n, _ := slices.BinarySearch(b.times, at)
	b.times = slices.Insert(b.times, n, at)
	if over := len(b.times) - most; over > 0 {
		b.times = slices.Delete(b.times, 0, over)
	}
	b.next = now
}

// spend looks whether the hour's steps are used up, and tells of it once: the group lasts until half of them are free again.
func (f *Fleet) spend(now int64) {
	b, most := &f.budget, f.cfg.StepsPerHour
	b.next = never
	recent, _ := slices.BinarySearch(b.times, now-hour+1)
	b.times = slices.Delete(b.times, 0, recent)
	if most <= 0 {
		b.times = nil
	}
	if len(b.times) > most {
		b.times = slices.Delete(b.times, 0, len(b.times)-most)
	}
	if len(b.times) > 0 {
		b.next = b.times[0] + hour
	}
	b.until = 0
	if most > 0 && len(b.times) >= most {
		b.until = b.times[len(b.times)-most] + hour
	}
	switch g := b.group; {
	case g != nil && (most <= 0 || len(b.times)*2 <= most):
		f.finish(g, now)
		b.group = nil
	case g == nil && b.until != 0:
		f.beginBudget(now)
	}
	if b.group != nil && b.group.id == b.released && now < b.resumes {
		b.until, b.next = 0, min(b.next, b.resumes)
	}
}

// Release tells that the fleet is not to be held before that time for the group of that ID, whose hold somebody released. It
// is to be told again of a fleet that was loaded: it is not saved with it.
func (f *Fleet) Release(id string, until time.Time) {
	f.budget.released, f.budget.resumes = id, nanos(until)
}

// TellRelease notes with the group who released the fleet, which acknowledges it: who did that knows.
func (f *Fleet) TellRelease(id, by string, until, now time.Time) {
	g := f.groups[id]
	if g == nil || g.closed != 0 {
		return
	}
	why := cmp.Or(text(by, mostName), "somebody") + " released the fleet: it is not held for this before " + until.UTC().Format("15:04:05 UTC")
	f.note(g, nanos(now), nil, why, true)
	_ = f.Acknowledge(id, by, now) // neither unknown nor over
}

func (f *Fleet) beginBudget(now int64) {
	b := &f.budget
	g := f.begin(groupID(letterBudget, strconv.FormatInt(b.until, 16)), KindBudget, oncall.CauseBudget, now)
	g.critical = true
	f.note(g, now, nil, fmt.Sprintf("%d automatic steps within an hour: the fleet holds until there is room", f.cfg.StepsPerHour), true)
	b.group = g
}

// Wants is what the fleet decided by itself, as of the last Tick.
func (f *Fleet) Wants() []Control {
	b := &f.budget
	if b.until == 0 || b.group == nil {
		return nil
	}
	return []Control{{
		ID: b.group.id, Verb: "hold", Until: moment(b.until),
		Why: fmt.Sprintf("the fleet took its %d automatic steps of an hour; ctwarden-hub unhold --budget lets it go on", f.cfg.StepsPerHour),
	}}
}
