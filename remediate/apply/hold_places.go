package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
}

// Held reads both places and gives the hold that lasts longest, or nil. For what cannot be read or parsed, see [Held].
func (p HoldPlaces) Held(now time.Time) (*remediate.Hold, error) {
	kept, err := Held(p.StateDir, now)
	inMemory, err2 := p.HeldInMemory(now)
	return kept.Longer(inMemory), errors.Join(err, err2)
}

// HeldInMemory reads the hold in runtime_dir alone, which no disk can keep waiting.
func (p HoldPlaces) HeldInMemory(now time.Time) (*remediate.Hold, error) {
	h, err := Held(p.RuntimeDir, now)
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
	unkept = p.setKept(h)
	if unkept == nil {
		_, err = ClearHold(p.RuntimeDir)
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
	ctx, cancel := context.WithTimeout(context.Background(), holdWriteWithin)
	defer cancel()
	done := make(chan error, 1)
	// Not in an errgroup, whose Wait would wait for a disk that hangs.
	go func() { done <- setHold(ctx, p.StateDir, h, 0o644) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errHoldSlow
	}
}

// setInMemory writes to runtime_dir, through which a group may pass: the file is for root and the agent's user alone, to
// whom the directory belongs.
func (p HoldPlaces) setInMemory(h remediate.Hold) error {
	if err := setHold(context.Background(), p.RuntimeDir, h, 0o600); err != nil {
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
	if err := root.Lchown(HoldFile, int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	return nil
}

// Clear removes the hold from both places. It tells whether there was one; where one could not be removed, it is in force
// still, and the error says which.
func (p HoldPlaces) Clear() (bool, error) {
	inMemory, err := ClearHold(p.RuntimeDir)
	kept, err2 := ClearHold(p.StateDir)
	return inMemory || kept, errors.Join(err, err2)
}

// Unkept says to an operator what it means that a hold set at now is in memory alone. It is empty where that is not so.
func (p HoldPlaces) Unkept(unkept error, now time.Time) string {
	if unkept == nil {
		return ""
	}
	text := fmt.Sprintf("; state_dir %s could not be written (%v), so the hold is in memory, as %s, and ends with the next boot at the latest",
		p.StateDir, unkept, filepath.Join(p.RuntimeDir, HoldFile))
	if earlier, _ := Held(p.StateDir, now); earlier != nil {
		text += fmt.Sprintf("; %s, which cannot be replaced, holds besides", earlier.File)
	}
	return text
}
