package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

// printError is an error of Options.Print, which ends the hub.
type printError struct{ err error }

func (e *printError) Error() string { return "print: " + e.err.Error() }
func (e *printError) Unwrap() error { return e.err }

// save begins a save where there is something to save and none is under way. The writes go on beside the loop, which folds
// the next batches meanwhile.
func (l *leading) save(ctx context.Context) error {
	now := time.Now()
	if l.saving || !l.changed || now.Before(l.notBefore) {
		return nil
	}
	if !l.holds() {
		return errLeaseLost
	}
	entries, due, err := l.snapshot(now)
	if err != nil {
		return err
	}
	l.changed = false
	l.due = due
	l.inSave, l.unsaved = l.unsaved, nil
	l.inSaveReplies, l.replies = l.replies, nil
	// A save of much takes long to put together: in a storm most of the time is left to the events.
	took := time.Since(now)
	l.notBefore = now.Add(max(saveEvery, min(4*took, busySave), 2*took))
	if len(entries) == 0 {
		return l.afterSave(nil)
	}
	l.saving = true
	select {
	case l.writes <- entries:
	case <-ctx.Done():
		l.saving = false
	}
	return nil
}

// write carries out one save after the other until ctx is done. One that is under way then is brought to its end.
func (l *leading) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case entries := <-l.writes:
			l.stored <- l.store.write(context.WithoutCancel(ctx), entries)
		}
	}
}

// snapshot has everything that became dirty, shards first, and the pages that are due in it. Only the loop, which waits
// meanwhile, makes a key dirty or a page due (Configure counts hosts anew, and the next Tick goes by that); the mutex is given
// back after each key, since all of 100,000 hosts are half a second's work and the page wants its turn.
func (l *leading) snapshot(now time.Time) (entries []entry, due []fleet.Page, err error) {
	for _, key := range l.dirty() {
		e, err := l.encode(key, now)
		if err != nil {
			return nil, nil, err
		}
		entries = append(entries, e)
	}
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	if l.control.dirty {
		value, err := json.Marshal(l.control)
		if err != nil {
			return nil, nil, fmt.Errorf("save %s: %w", controlKey, err)
		}
		entries = append(entries, entry{controlKey, value})
		l.control.dirty = false
	}
	for _, p := range l.fleet.Due() {
		if _, has := l.submitted[p.ID]; !has {
			due = append(due, p)
		}
	}
	return entries, due, nil
}

// dirty are the keys to save: those that changed, and those that something else lies under.
func (l *leading) dirty() []string {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	keys := l.fleet.Dirty()
	for key := range l.foreign {
		if key == controlKey {
			l.control.dirty = true
			continue
		}
		if _, err := l.fleet.Encode(key); err == nil && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	l.foreign = nil
	if len(keys) > 0 {
		l.h.revision++
	}
	return keys
}

// encode is a key as it is to be saved. From here on it is the store's: where that fails, the whole picture is read anew.
func (l *leading) encode(key string, now time.Time) (entry, error) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	value, err := l.fleet.Encode(key)
	if err != nil {
		return entry{}, fmt.Errorf("save %s: %w", key, err)
	}
	if delete(l.deleted, key); value == nil {
		l.deleted[key] = now
	}
	l.fleet.Saved([]string{key})
	return entry{key, value}, nil
}

// afterSave acknowledges what is saved, then hands the pages to the senders.
func (l *leading) afterSave(err error) error {
	l.saving = false
	if err != nil {
		return err
	}
	l.settle()
	if len(l.due) > 0 {
		l.h.o.Fail(StageSaved)
	}
	if !l.holds() {
		return errLeaseLost
	}
	for _, p := range l.due {
		taken, dead := l.queues.submit(p)
		if taken != nil {
			l.submitted[p.ID] = taken
		}
		if dead != nil {
			l.delivered(*dead)
		}
	}
	l.due = nil
	for _, reply := range l.inSaveReplies {
		reply()
	}
	l.inSaveReplies = nil
	return nil
}

// settle has what the last save covers printed and acknowledged.
func (l *leading) settle() {
	done := l.inSave
	l.inSave = nil
	for _, b := range done {
		l.h.printer.take(b)
		if at := b.Events[len(b.Events)-1].At; !at.IsZero() {
			l.h.backlog.saved.Store(at.UnixNano())
		}
	}
}

// delivered notes what became of a page, and has it saved.
func (l *leading) delivered(d delivered) {
	if d.ended != nil {
		// What it has not told of is due again.
		maps.DeleteFunc(l.submitted, func(_ string, s *sender) bool { return s == d.ended })
		l.changed = true
		return
	}
	now := time.Now()
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.fleet.Delivered(d.page, d.Delivery, now)
	l.h.tally.pages[d.pageResult]++
	l.h.revision++
	delete(l.submitted, d.page)
	l.changed = true
}
