package apply

import (
	"context"
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// Keep moves a hold that [HoldPlaces.HeldInMemory] gave to state_dir, so that it outlasts a reboot, and tells whether it
// did. It is written there before it is removed from runtime_dir, so one of the two holds at any moment. One in state_dir
// that lasts as long or longer stays as it is; one that was changed meanwhile stays where it is, and so does one that
// cannot be understood, of which state_dir gets a copy without end.
//
// Keep does nothing while an order of an operator is at work. It may hang with the disk.
func (p HoldPlaces) Keep(h *remediate.Hold, now time.Time) (bool, error) {
	unlock, alone := p.alone(0)
	defer unlock()
	if !alone {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), holdWriteWithin)
	defer cancel()
	context.AfterFunc(ctx, unlock) // no order waits for a disk that hangs
	kept, err := p.HeldKept(now)
	if err != nil {
		return false, err
	}
	if kept.Longer(h) == h {
		if err := p.file().set(ctx, p.StateDir, *h, 0o644); err != nil {
			return false, err
		}
	}
	if ctx.Err() != nil {
		return false, fmt.Errorf("keep hold %s: %w", p.InMemory(), errHoldSlow)
	}
	return p.forgetInMemory(h, now)
}

// forgetInMemory removes a hold from runtime_dir if it is the one that is meant.
func (p HoldPlaces) forgetInMemory(h *remediate.Hold, now time.Time) (bool, error) {
	found, err := p.HeldInMemory(now)
	if err != nil || found == nil || found.By != h.By || !found.Until.Equal(h.Until) || !found.Since.Equal(h.Since) {
		return false, nil // one that is not understood is said in the status
	}
	return p.clearIn(p.RuntimeDir)
}
