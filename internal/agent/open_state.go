package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// openWithin is how long the start waits for the state file, which is read whole.
const openWithin = 5 * time.Second

// openState opens the state file and goes on from what it holds. A disk that cannot be used, or does not answer, is no
// error: the agent then begins without, and the recorder opens the file when it can.
func (a *Agent) openState() error {
	a.disk = newDisk(filepath.Join(a.cfg.StateDir, "state.db"), state.Options{MaxEvents: a.cfg.OutboxMax})
	a.outbox = newOutbox(a.disk)
	a.sink = notify.NewJournalSink(a.cfg.Log)
	a.recorder = newRecorder(a.disk, a.outbox, a.cfg.Log)
	a.recorder.told = a.toldOfState
	a.recorder.afterCommit = (&holdKeeper{places: a.cfg.holdPlaces(), reader: a.holds, log: a.cfg.Log}).keep
	if a.cfg.Fail != nil {
		a.recorder.fail = a.cfg.Fail
	}
	if err := a.loadState(); isDiskFault(err) && !errors.Is(err, state.ErrLocked) {
		a.cfg.Log.Error("started without a state file", zap.Error(err),
			zap.String("not_guaranteed", "what the run before left is not known: sources begin at sources.lookback, incidents and steps afresh"))
		a.recorder.report(err)
	} else if err != nil {
		return errors.Join(err, a.disk.close())
	}
	return a.openPublisher()
}

// loadState opens the file within the time that a disk may take, and takes over what it holds.
func (a *Agent) loadState() error {
	var store *state.Store // these are read only where the call has returned
	var found state.Opened
	var snap state.Snapshot
	err := a.disk.within(openWithin, func() (err error) {
		if store, err = a.disk.ready(); err != nil {
			return err
		}
		found = *a.disk.news
		snap, err = store.Load()
		return err
	})
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("state_dir %s must belong to the user that the agent runs as: %w", a.cfg.StateDir, err)
	case err != nil:
		return err
	}
	a.disk.news = nil
	a.outbox.opened(store)
	if found.SetAside != "" {
		a.noteIf(noteState, fmt.Errorf("the state file was damaged (%s); it was set aside as %s and a fresh one begun",
			found.Problem, found.SetAside))
	}
	a.positions, a.meta = snap.Positions, snap.Meta
	if len(snap.Tracker) > 0 {
		if err := json.Unmarshal(snap.Tracker, &a.saved); err != nil {
			a.noteIf(noteState, fmt.Errorf("saved incidents not understood, begun afresh: %w", err))
			a.saved = remediate.TrackerState{}
		}
	}
	a.steps = decodeSteps(snap.Steps)
	a.recorder.image.put(state.Change{Positions: snap.Positions, Tracker: snap.Tracker, Steps: snap.Steps, Meta: snap.Meta})
	return nil
}

func decodeSteps(records []state.Record) []remediate.Step {
	var steps []remediate.Step
	for _, rec := range records {
		var s remediate.Step
		if err := json.Unmarshal(rec.JSON, &s); err == nil {
			steps = append(steps, s)
		}
	}
	return steps
}

// toldOfState takes what the recorder says of a state file that was opened while the agent runs.
func (a *Agent) toldOfState(text string, earlier []state.Record) {
	a.afterwards(func() {
		a.noteIf(noteState, errors.New(text))
		a.steps = append(decodeSteps(earlier), a.steps...)
	})
}

func (a *Agent) openPublisher() error {
	if len(a.cfg.NATS.Servers) == 0 {
		return nil
	}
	dial := a.cfg.NATS
	dial.Name, dial.InboxPrefix = "ctwarden "+a.cfg.Host, notify.InboxPrefix(a.cfg.Site, a.cfg.Host)
	var err error
	a.publisher, err = notify.NewPublisher(notify.PublisherOptions{
		Dial: dial, Identity: a.identity, Queue: a.cfg.queue(a.outbox), Log: a.cfg.Log,
	})
	if err != nil {
		return errors.Join(err, a.disk.close())
	}
	a.recorder.wake = a.publisher.Wake
	return nil
}
