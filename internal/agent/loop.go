package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// tickEvery is how often what depends on time alone is looked at: incidents to close, updates to send. tickQuiet is the
// same while there are none.
const (
	tickEvery = 250 * time.Millisecond
	tickQuiet = time.Second
)

// tickPeriod is how long what depends on time alone may wait. It is looked at with a reading of the table where one falls
// into the second half of that.
func (a *Agent) tickPeriod() time.Duration {
	if a.atRest() {
		return tickQuiet
	}
	return tickEvery
}

// loop owns the tracker and all books. It never waits for a disk, the network, a log or the service manager. While the host
// is at rest, the alarm's goroutine takes turns in its place.
func (a *Agent) loop(ctx context.Context) error {
	var own sync.Mutex // held in each turn
	var in inputs      // as the loop saw them when it began to wait
	watchdog := newWatchdog(a.manager)
	var alarm *alarm
	end := func() error {
		a.save(false)
		now := time.Now()
		watchdog.ping(now)
		return alarm.set(a.nextSample(now), a.atRest())
	}
	alarm, err := newAlarm(func() bool {
		own.Lock()
		defer own.Unlock()
		if !a.atRest() {
			return false
		}
		a.sample()
		// What fails here fails in the loop too; and the loop must not wait for less than there is.
		return end() == nil && a.atRest() && a.inputs() == in
	})
	if err != nil {
		return err
	}
	defer alarm.close()
	own.Lock()
	defer own.Unlock()
	for err = alarm.set(0, false); err == nil; err = end() {
		in = a.inputs()
		own.Unlock()
		turn := a.await(ctx, alarm, in)
		own.Lock()
		if turn == nil {
			return nil
		}
		if err := turn(); err != nil {
			return err
		}
	}
	return err
}

// atRest tells whether nothing happens on the host.
func (a *Agent) atRest() bool { return a.ready && a.tracker.Uneventful() }

// inputs are what the loop waits for and what is not always there: nil where it is not.
type inputs struct {
	files   <-chan watcher.Batch
	writer  <-chan remediate.Writer
	talkers <-chan topFound
}

func (a *Agent) inputs() inputs {
	return inputs{files: a.filesNow(time.Now()), writer: a.writers.found, talkers: a.talkers.found}
}

// await waits for something to do, and returns it; nil where ctx is done. It is not a turn: what the loop owns is another's
// meanwhile.
func (a *Agent) await(ctx context.Context, alarm *alarm, in inputs) (turn func() error) {
	var do func()
	select {
	case <-ctx.Done():
		return nil
	case b := <-a.batches:
		return func() error { return a.takeBatches(b, a.batches) }
	case b := <-in.files:
		return func() error { return a.takeFiles(b) }
	case <-alarm.rings:
		do = a.sample
	case <-alarm.near.C:
		do = a.sample
	case do = <-a.calls:
	case <-a.mounts:
		do = func() {
			a.mounted = true
			a.sample()
		}
	case w := <-in.writer:
		do = func() { a.nameWriter(w) }
	case found := <-in.talkers:
		do = func() { a.takeTalkers(found) }
	case <-a.pager.arrivals():
		do = func() {}
	}
	return func() error {
		do()
		return nil
	}
}

// ask runs f in the loop and returns its answer. Where Run was never called there is no loop, and f runs in the caller.
func ask[T any](ctx context.Context, a *Agent, f func() T) (T, error) {
	var none T
	if !a.started.Load() {
		return f(), nil
	}
	answer := make(chan T, 1) // the loop need not wait for a caller that gave up
	select {
	case a.calls <- func() { answer <- f() }:
	case <-ctx.Done():
		return none, ctx.Err()
	case <-a.ended:
		return none, errStopped
	}
	select {
	case v := <-answer:
		return v, nil
	case <-ctx.Done():
		return none, ctx.Err()
	case <-a.ended:
	}
	select {
	case v := <-answer: // the loop's last act
		return v, nil
	default:
		return none, errStopped
	}
}

// queue takes events for the next transaction. A step's outcome also goes into the journal of steps.
func (a *Agent) queue(events ...remediate.Event) {
	for _, ev := range events {
		if s, ok := ev.Data.(remediate.Step); ok && ev.Type == remediate.EventStepConfirmed {
			a.countStep("confirmed", s.Reason)
			a.keep(s)
		}
	}
	a.events = append(a.events, events...)
	if a.pager != nil {
		for _, ev := range events {
			a.pager.take(ev)
		}
	}
}

// save hands what changed to the recorder as one change: events, positions, tracker, steps. Positions alone wait, so
// that an idle host's disk is left in peace. Where a change of the limit is to be named, it waits too.
func (a *Agent) save(all bool) {
	now := time.Now()
	if len(a.writers.waiting) > 0 {
		if !all && now.Before(a.writers.until) {
			return
		}
		a.queue(a.writers.giveUp()...)
	}
	a.page()
	booked := a.tracker.Booked()
	wait := savePositions
	if booked != a.savedBooked {
		wait = saveCounts
	}
	if len(a.events) == 0 && len(a.unkept) == 0 && a.paging == nil && !all && now.Sub(a.savedAt) < wait {
		return
	}
	a.savedAt = now
	change := state.Change{Positions: a.unsavedPositions(), Meta: a.unsavedMeta()}
	if len(change.Positions) == 0 && len(change.Meta) == 0 && len(a.events) == 0 && len(a.unkept) == 0 && booked == a.savedBooked && !all {
		return
	}
	a.savedBooked = booked
	change.Tracker, a.savedQuiet = a.encodeTracker(), a.tracker.Quiet()
	for _, ev := range a.events {
		a.countEvent(ev)
		out, err := notify.Encode(a.identity, ev)
		if err != nil {
			a.cfg.Log.Error("event not encoded", zap.String("type", string(ev.Type)), zap.Error(err))
			continue
		}
		a.sink.Record(out)
		if a.publisher != nil {
			change.Events = append(change.Events, out)
		}
	}
	for _, s := range a.unkept {
		rec, err := encodeStep(s)
		if err != nil {
			a.cfg.Log.Error("step not saved", zap.Error(err))
			continue
		}
		change.Steps = append(change.Steps, rec)
	}
	a.recorder.add(change, a.forgetIntents(a.unkept))
	a.events, a.unkept = nil, nil
}

// page says what the turn gave to say to people. Where nothing did, what is saved of it stays as it is.
func (a *Agent) page() {
	if a.pager == nil {
		return
	}
	if saved := a.pager.turn(a.tracker.Open); saved != nil {
		a.paging = saved
	}
}

// unsavedMeta is what the state file is to keep of small values.
func (a *Agent) unsavedMeta() map[string][]byte {
	meta := a.untoldLosses()
	if heard := a.fleetMeta(); heard != nil {
		meta[fleetKey] = heard
	}
	if a.paging != nil {
		meta[pagerKey], a.paging = a.paging, nil
	}
	return meta
}

// countEvent keeps the totals that the metrics show.
func (a *Agent) countEvent(ev remediate.Event) {
	if ev.Type == remediate.EventIncidentOpened {
		a.incidentsTotal++
	}
}

// becomeReady tells systemd, and whoever waits, that every source is positioned.
func (a *Agent) becomeReady() {
	a.ready = true
	close(a.readyCh)
	a.manager.tell(daemon.SdNotifyReady)
	a.cfg.Log.Info("agent ready", zap.String("mode", string(a.cfg.Policy.Mode)), zap.Int("namespaces", len(a.spaces)))
}

// tellState keeps systemd's one-line status of the agent up to date.
func (a *Agent) tellState() {
	text := stateText(a.cfg.Policy.Mode, len(a.spaces), a.tracker.Open())
	if now := time.Now(); a.ready && text != a.told && now.Sub(a.toldAt) >= time.Second {
		a.told, a.toldAt = text, now
		a.manager.tell("STATUS=" + text)
	}
}

// stateText says how things are, on one line.
func stateText(mode remediate.Mode, namespaces int, open []remediate.Incident) string {
	n := len(open)
	if n == 0 {
		return fmt.Sprintf("%s, %s, no incident", mode, counted(namespaces, "namespace"))
	}
	last := open[n-1]
	return fmt.Sprintf("%s, %s open, the latest %s in %s: %s",
		mode, counted(n, "incident"), last.Severity, last.NetNS, last.Use())
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
