package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// holdWriteWithin is how long state_dir may take to write a hold before it goes to runtime_dir.
const holdWriteWithin = 2 * time.Second

// errHoldSlow says that state_dir has not answered.
var errHoldSlow = fmt.Errorf("the disk has not answered for %v", holdWriteWithin)

// HoldPlaces are the directories that a hold may be in; one in either holds. The first is where it is written. The second
// is in memory and takes it where the first cannot, because its disk is full, read-only, frozen or gone: what is wrong
// with a disk must not keep an operator from stopping the agent's hand.
type HoldPlaces struct {
	StateDir, RuntimeDir string
	// Fleet is true for the fleet's hold; false for the host's own.
	Fleet bool
}

func (p HoldPlaces) file() holdFile {
	if p.Fleet {
		return FleetHoldFile
	}
	return HoldFile
}

// Kept is where the hold is in state_dir.
func (p HoldPlaces) Kept() string { return filepath.Join(p.StateDir, string(p.file())) }

// InMemory is where the hold is in runtime_dir.
func (p HoldPlaces) InMemory() string { return filepath.Join(p.RuntimeDir, string(p.file())) }

// HeldKept reads the hold in state_dir alone. It may hang with the disk.
func (p HoldPlaces) HeldKept(now time.Time) (*remediate.Hold, error) {
	return p.file().held(p.StateDir, now)
}

// Held reads both places and gives the hold that lasts longest, or nil. For what cannot be read or parsed, see [Held].
func (p HoldPlaces) Held(now time.Time) (*remediate.Hold, error) {
	inMemory, err2 := p.HeldInMemory(now) // first, since a hold moves from there to state_dir and never back
	kept, err := p.HeldKept(now)
	return kept.Longer(inMemory), errors.Join(err, err2)
}

// HeldInMemory reads the hold in runtime_dir alone, which no disk can keep waiting.
func (p HoldPlaces) HeldInMemory(now time.Time) (*remediate.Hold, error) {
	h, err := p.file().held(p.RuntimeDir, now)
	if h != nil {
		h.UntilBoot = true
	}
	return h, err
}

// Set writes the hold, in place of any earlier one. A hold that had to go to runtime_dir is no error: then unkept says
// why state_dir did not take it. An earlier hold that state_dir has, and does not let go, stays in force besides.
//
// Whoever may not write to state_dir gets that as an error, and nothing is written.
func (p HoldPlaces) Set(h remediate.Hold) (unkept, err error) {
	unlock, alone := p.alone(holdWriteWithin)
	defer unlock()
	unkept = p.setKept(h)
	if unkept == nil {
		_, err = p.clearIn(p.RuntimeDir)
		if alone {
			p.tidy()
		}
		return nil, err
	}
	if errors.Is(unkept, fs.ErrPermission) {
		return nil, unkept
	}
	if err := p.setInMemory(h); err != nil {
		return nil, errors.Join(unkept, err)
	}
	return unkept, nil
}

// setKept writes to state_dir, and gives up where that does not answer.
func (p HoldPlaces) setKept(h remediate.Hold) error {
	err, answered := within(func(ctx context.Context) error { return p.file().set(ctx, p.StateDir, h, 0o644) })
	if !answered {
		return errHoldSlow
	}
	return err
}

// setInMemory writes to runtime_dir, through which a group may pass: the file is for root and the agent's user alone, to
// whom the directory belongs.
func (p HoldPlaces) setInMemory(h remediate.Hold) error {
	if err := p.file().set(context.Background(), p.RuntimeDir, h, 0o600); err != nil {
		return err
	}
	info, err := os.Stat(p.RuntimeDir)
	if err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || owner.Uid == 0 {
		return nil
	}
	root, err := os.OpenRoot(p.RuntimeDir)
	if err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	defer root.Close()
	if err := root.Lchown(string(p.file()), int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	return nil
}

// Clear removes the hold from both places. It tells whether there was one.
//
// Where the one in state_dir cannot be removed, or state_dir does not answer, nothing is removed, now or later: what is
// held stays held for as long as it was said to. Only where state_dir cannot even tell whether it has one is the one in
// runtime_dir removed, and the error says why the other is not known to be gone.
func (p HoldPlaces) Clear() (bool, error) {
	unlock, alone := p.alone(holdWriteWithin)
	defer unlock()
	kept, err := p.clearKept()
	if kept && err != nil {
		return false, fmt.Errorf("%w; it holds still, and nothing was released: ask again when the disk takes it", err)
	}
	inMemory, err2 := p.clearIn(p.RuntimeDir)
	if alone {
		p.tidy()
	}
	return inMemory || kept, errors.Join(err, err2)
}

func (p HoldPlaces) clearIn(dir string) (bool, error) {
	return p.file().clear(context.Background(), dir, func() {})
}

// clearKept removes the one in state_dir. Where that does not answer, there counts as true.
func (p HoldPlaces) clearKept() (there bool, err error) {
	type cleared struct {
		there bool
		err   error
	}
	var gone atomic.Bool
	got, answered := within(func(ctx context.Context) cleared {
		there, err := p.file().clear(ctx, p.StateDir, func() { gone.Store(true) })
		return cleared{there, err}
	})
	switch {
	case answered:
		return got.there, got.err
	case gone.Load(): // only whether that outlasts a loss of power is not known yet
		return true, nil
	}
	return true, fmt.Errorf("remove hold %s: %w", p.Kept(), errHoldSlow)
}

// Unkept says to an operator what it means that a hold set at now is in memory alone. It is empty where that is not so.
func (p HoldPlaces) Unkept(unkept error, now time.Time) string {
	if unkept == nil {
		return ""
	}
	text := fmt.Sprintf("; state_dir %s could not be written (%v), so the hold is in memory, as %s, and ends with the next boot, "+
		"unless an agent that runs has moved it to state_dir by then", p.StateDir, unkept, p.InMemory())
	// What cannot be read counts, and its error is said in the status.
	if earlier, _ := within(func(context.Context) *remediate.Hold { h, _ := p.HeldKept(now); return h }); earlier != nil {
		text += fmt.Sprintf("; %s, which cannot be replaced, holds besides", earlier.File)
	}
	return text
}
