package agent

import (
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate/apply"
)

// keepEvery is how often a hold in runtime_dir is looked for on a host whose disk has nothing to save.
const keepEvery = 5 * time.Second

// holdKeeper moves a hold that is in memory to state_dir once the disk takes it: a reboot is no release. It is used in
// turns at the disk, the first of which also tidies up there.
type holdKeeper struct {
	places apply.HoldPlaces
	reader *holdReader
	log    *zap.Logger
	tidied bool
	said   string // why it could not be moved, as last logged
}

// keep is called after a commit that succeeded.
func (k *holdKeeper) keep() {
	if !k.tidied {
		k.places.Tidy()
		k.tidied = true
	}
	now := time.Now()
	h, _ := k.places.HeldInMemory(now) // one that is not understood counts, and the loop says so
	if h == nil {
		return
	}
	k.reader.moved.Store(h) // before it can be gone from where the loop reads it
	done, err := k.places.Keep(h, now)
	switch {
	case done:
		k.said = ""
		until := "ctwarden unhold"
		if k.places.Fleet {
			until = "ctwarden-hub unhold"
		}
		if !h.Until.IsZero() {
			until = h.Until.Format(time.RFC3339)
		}
		k.log.Info("hold moved from memory to state_dir", zap.String("file", k.places.Kept()),
			zap.String("until", until), zap.String("by", h.By))
		return
	case err != nil && err.Error() != k.said:
		k.said = err.Error()
		k.log.Warn("hold still in memory alone, where a reboot ends it", zap.Error(err))
	}
	k.reader.moved.CompareAndSwap(h, nil)
}

// keepHold has the recorder take a turn at the disk where a hold is in memory: on an idle host there may be no other reason.
func (a *Agent) keepHold(now time.Time) {
	if now.Sub(a.keepHoldAt) < keepEvery {
		return
	}
	a.keepHoldAt = now
	for _, places := range []apply.HoldPlaces{a.cfg.holdPlaces(), a.cfg.fleetHoldPlaces()} {
		if _, err := os.Lstat(places.InMemory()); err == nil {
			a.recorder.signal()
		}
	}
}
