package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// openState opens the state file and goes on from what it holds. A disk that cannot be used, or does not answer, is no
// error: the agent then begins without, and the recorder opens the file when it can.
func (a *Agent) openState(ctx context.Context) error {
	a.disk = newDisk(filepath.Join(a.cfg.StateDir, "state.db"), state.Options{MaxEvents: a.cfg.OutboxMax})
	a.outbox = newOutbox(a.disk)
	a.sink = notify.NewJournalSink(a.cfg.Log)
	a.recorder = newRecorder(a.disk, a.outbox, a.cfg.Log)
	a.recorder.told = a.toldOfState
	own := &holdKeeper{places: a.cfg.holdPlaces(), reader: a.holds, log: a.cfg.Log}
	fleet := &holdKeeper{places: a.cfg.fleetHoldPlaces(), reader: a.fleet.reader, log: a.cfg.Log}
	a.recorder.afterCommit = func() {
		own.keep()
		fleet.keep()
	}
	if a.cfg.Fail != nil {
		a.recorder.fail = a.cfg.Fail
	}
	if err := a.loadState(ctx); isDiskFault(err) && !errors.Is(err, state.ErrLocked) {
		if a.recorder.known {
			a.cfg.Log.Warn("started before the state file could be used", zap.Error(err),
				zap.String("known", "positions, incidents and steps of the run before; what waits to be sent follows"))
		} else {
			a.cfg.Log.Error("started without a state file", zap.Error(err),
				zap.String("not_guaranteed", "what the run before left is not known: sources begin at sources.lookback, incidents and steps afresh"))
		}
		a.recorder.report(err)
	} else if err != nil {
		return errors.Join(err, a.disk.close())
	}
	return a.openPublisher()
}

// loadState takes over what the file holds besides the outbox, and waits a while for the whole of it to be opened. Where
// that takes longer it goes on in its turn at the disk, and the recorder books it.
func (a *Agent) loadState(ctx context.Context) error {
	begun, done := a.disk.begin()
	o, err := a.disk.awaitBegun(ctx, begun)
	if err != nil {
		return a.whoseDir(err)
	}
	a.takeOver(o.Snapshot)
	wait := createWithin
	if o.Sound {
		a.recorder.known, wait = true, wholeWithin
	}
	if err := a.disk.awaitDone(ctx, done, wait); err != nil {
		return a.whoseDir(err)
	}
	if text := a.recorder.opened(); text != "" {
		a.noteIf(noteState, errors.New(text))
	}
	return nil
}

// whoseDir adds to an error what an operator can do about it.
func (a *Agent) whoseDir(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("state_dir %s must belong to the user that the agent runs as: %w", a.cfg.StateDir, err)
	}
	return err
}

// takeOver goes on from what the run before left.
func (a *Agent) takeOver(snap state.Snapshot) {
	a.positions, a.meta = snap.Positions, snap.Meta
	if len(snap.Tracker) > 0 {
		if err := json.Unmarshal(snap.Tracker, &a.saved); err != nil {
			a.noteIf(noteState, fmt.Errorf("saved incidents not understood, begun afresh: %w", err))
			a.saved = remediate.TrackerState{}
		}
	}
	a.steps = decodeSteps(snap.Steps)
	a.recorder.image.put(state.Change{Positions: snap.Positions, Tracker: snap.Tracker, Steps: snap.Steps, Meta: snap.Meta})
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
		Dial: dial, Identity: a.identity, Queue: a.cfg.queue(a.outbox), Log: a.cfg.Log, Order: a.order,
	})
	if err != nil {
		return errors.Join(err, a.disk.close())
	}
	a.recorder.wake = a.publisher.Wake
	return nil
}
