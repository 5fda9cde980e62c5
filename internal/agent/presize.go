package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// presizeEvery is how often a hash that is too small is looked at, and presizeRarely the same while it is for what
// nobody can see that it is not sized, while it cannot be written, and of one that is large enough. objectsOld is how
// old the kernel's count of all entries may be while connections are refused.
const (
	presizeEvery  = time.Second
	presizeRarely = 10 * time.Second
	objectsOld    = time.Minute
)

// hashKey is the name in the state file of what the agent knows of the hash.
const hashKey = "hash"

// hash is what the agent knows of the kernel's hash beside its size. A resize alone is no step: it changes no limit, so it
// is not in the journal of steps, where revert and whoever follows the limit look, and it makes no event.
type hash struct {
	hashBook
	after  time.Time // it is not looked at before
	failed time.Time // when a resize last failed
	said   remediate.HashReason
	// objects is how many entries the kernel had in all at objectsAt; known is false where it does not tell, or was not
	// asked yet. hidden is how many of them nobody could see.
	objects   uint64
	known     bool
	objectsAt time.Time
	hidden    uint64
}

// hashBook is what is saved of it.
type hashBook struct {
	// Kernel is the release under which Resizes were measured: another one's price is another's.
	Kernel  string             `json:"kernel"`
	Resizes []remediate.Resize `json:"resizes,omitempty"`
	// Last is the last resize of all, whether or not it says anything about the price.
	Last *remediate.Resize `json:"last,omitempty"`
	// BootID is the boot in which ctwarden asked for Set buckets; Ours is the largest hash that it ever got.
	BootID string `json:"boot_id"`
	Set    uint64 `json:"set"`
	Ours   uint64 `json:"ours"`
}

// restoreHash takes over what the run before knew.
func (a *Agent) restoreHash() {
	if saved := a.meta[hashKey]; len(saved) > 0 {
		if err := json.Unmarshal(saved, &a.hash.hashBook); err != nil {
			a.cfg.Log.Warn("what was known of the hash is not understood, and learned anew", zap.Error(err))
			a.hash.hashBook = hashBook{}
		}
	}
	if a.hash.Kernel != a.kernel {
		a.hash.Kernel, a.hash.Resizes = a.kernel, nil
	}
	if a.hash.BootID != a.bootID {
		a.hash.BootID, a.hash.Set = a.bootID, 0
	}
}

// saveHash hands it to the recorder, which drops the intent of that id after the commit; empty: there is none.
func (a *Agent) saveHash(intent string) {
	b, err := json.Marshal(a.hash.hashBook)
	if err != nil {
		a.cfg.Log.Error("what is known of the hash is not saved", zap.Error(err))
		return
	}
	var committed func()
	if intent != "" {
		committed = func() { a.forgetIntent(intent) }
	}
	a.recorder.add(state.Change{Meta: map[string][]byte{hashKey: b}}, committed)
}

// tookResize books a resize that was just carried out, in quiet or within a step, and says it.
func (a *Agent) tookResize(r remediate.Resize, err error) {
	r.Entries = a.entries() + a.hiddenNow(time.Now())
	h := &a.hash
	h.failed = time.Time{}
	if err != nil {
		h.failed = time.Now()
	} else {
		a.noteIf(noteHash, nil)
	}
	if err != nil && !errors.Is(err, apply.ErrReadBack) {
		return // nothing was written; whoever asked says why
	}
	h.Last, h.Set, h.Ours = &r, max(h.Set, r.Asked), max(h.Ours, r.To)
	if err == nil && r.Teaches() {
		h.Resizes = append(h.Resizes, r)
		h.Resizes = h.Resizes[max(len(h.Resizes)-remediate.LearnedResizes, 0):]
	}
	a.saveHash("")
	a.cfg.Log.Info("hash sized", zap.Uint64("buckets_before", r.From), zap.Uint64("asked", r.Asked), zap.Uint64("buckets", r.To),
		zap.Uint64("entries", r.Entries), zap.Int64("took_us", r.TookUS), zap.Int64("busy_us", r.BusyUS),
		zap.Duration("stall_per_entry", h.stallPerEntry()))
}

// hashGone takes note that the module was unloaded: it starts with a hash of its own choice.
func (a *Agent) hashGone() {
	if a.hash.Set != 0 {
		a.hash.Set = 0
		a.saveHash("")
	}
}

// stallPerEntry is the price of an entry in a resize, as learned here.
func (h *hash) stallPerEntry() time.Duration { return remediate.LearnedStall(h.Resizes) }

// entries is how many entries all namespaces have, as last counted. Those that cannot be seen are not in it.
func (a *Agent) entries() (n uint64) {
	for _, space := range a.spaces {
		n += space.last.Count
	}
	return n
}

// hiddenNow counts the entries of namespaces that cannot be seen. The kernel is asked at most once a second, since that
// costs 0.1 ms, or on some kernels milliseconds behind a lock: while connections are refused, its last answer will do. What
// can be seen is taken off anew each time, lest entries that came since they were last counted count twice.
func (a *Agent) hiddenNow(now time.Time) uint64 {
	h := &a.hash
	if age := now.Sub(h.objectsAt); age >= presizeEvery {
		if h.known && age < objectsOld && a.refusing() {
			return h.hidden // what can be seen now is no part of an old answer
		}
		all, err := a.table.Objects()
		h.objects, h.known, h.objectsAt = all, err == nil, now
	}
	h.hidden = h.objects - min(h.objects, a.entries())
	return h.hidden
}

// refusing tells whether connections are refused anywhere.
func (a *Agent) refusing() bool {
	for inode := range a.spaces {
		if a.tracker.Critical(inode) {
			return true
		}
	}
	return false
}

// presizing decides about the hash as things are now, with so many entries that cannot be seen.
func (a *Agent) presizing(now time.Time, limits remediate.Limits, hidden uint64) remediate.Presizing {
	ask := remediate.Ask{}
	ask.Reading.NetNS = a.initNetNS()
	s := a.situation(now, ask, limits)
	s.Hidden = hidden
	return remediate.Presize(a.cfg.Policy, s)
}

// presize sizes the hash for the ceiling where that is due.
func (a *Agent) presize() {
	now := time.Now()
	p := a.cfg.Policy
	if p.Mode != remediate.ModeRemediate || p.Buckets != remediate.BucketsPresize || now.Before(a.hash.after) {
		return
	}
	a.hash.after = now.Add(presizeEvery)
	limits, err := a.table.Limits()
	if err != nil {
		return // that is said where the table is read
	}
	d := a.presizing(now, limits, 0)
	if d.Do { // a table can fill in less than the time since its last count
		a.readCounts()
		d = a.presizing(time.Now(), limits, a.hiddenNow(time.Now()))
		if !d.Do && a.hash.hidden > 0 {
			a.hash.after = now.Add(presizeRarely)
		}
	}
	if d.Reason == remediate.HashSized || d.Reason == remediate.HashReadOnly {
		a.hash.after = now.Add(presizeRarely)
	}
	a.sayHash(d)
	if d.Do {
		a.sizeHash(limits, d)
	}
}

// sayHash says once in the log why the hash stays too small.
func (a *Agent) sayHash(d remediate.Presizing) {
	if d.Reason == a.hash.said {
		return
	}
	a.hash.said = d.Reason
	if d.Reason != "" && d.Reason != remediate.HashSized {
		a.cfg.Log.Info("hash not sized", zap.String("reason", string(d.Reason)), zap.String("text", d.Text()),
			zap.Uint64("wanted", d.Buckets), zap.Duration("predicted_stall", d.Stall))
	}
}

// sizeHash has the kernel make the hash larger, journalled as any write is. Its intent is dropped once the state file has
// what came of it.
func (a *Agent) sizeHash(limits remediate.Limits, d remediate.Presizing) {
	now := time.Now()
	s, err := a.applier.Step(remediate.Decision{
		Do: true, From: limits.Max, To: limits.Max, Buckets: d.Buckets, NetNS: a.initNetNS(),
	}, apply.StepMeta{ID: a.nextStepID(now), Mode: a.cfg.Policy.Mode, Ceiling: a.cfg.Policy.Ceiling})
	switch {
	case s.Keys[apply.KeyBuckets] >= d.Buckets: // where the limit was changed meanwhile, the hash is sized nevertheless
		a.saveHash(s.ID)
		return
	case errors.Is(err, apply.ErrChanged):
	case err != nil:
		a.hash.failed = now
		a.noteIf(noteHash, fmt.Errorf("the hash was not sized for remediate.ceiling: %w", err))
	}
	a.dropIntent(s.ID)
}

// takeHash books a resize in quiet that an earlier run left between intent and outcome.
func (a *Agent) takeHash(r apply.Recovery) {
	if got := r.Step.Keys[apply.KeyBuckets]; r.Result == apply.ResultDone {
		a.hash.Set, a.hash.Ours = max(a.hash.Set, got), max(a.hash.Ours, got)
	}
	a.saveHash(r.ID)
}

// hashStatus says how the hash stands to the ceiling.
func (a *Agent) hashStatus(now time.Time, limits remediate.Limits) *HashStatus {
	if limits.Buckets == 0 {
		return nil // there is no table
	}
	d := a.presizing(now, limits, 0)
	// The kernel walks a list for it, and whoever reads the metrics comes here: only where something depends on it.
	counted := d.Do || d.Reason == remediate.HashStall
	if counted {
		d = a.presizing(now, limits, a.hiddenNow(now))
	}
	s := HashStatusOf(d, a.hash.stallPerEntry())
	if s.Reason == remediate.HashHeld {
		s.Text = a.heldNow(now).Text()
	}
	s.Learned, s.Last, s.AtLeast = len(a.hash.Resizes), a.hash.Last, !counted || !a.hash.known
	return &s
}
