package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
)

// What a note is about; a note about the same thing takes the place of the one before it.
const (
	noteTable    = "table"
	noteMemory   = "memory"
	noteHold     = "hold"
	noteBoot     = "boot"
	noteBootMark = "boot_mark"
	notePersist  = "persist"
	noteState    = "state"
	noteRecover  = "recover"
	noteDiscover = "discover"
	noteIntent   = "intent"
	noteReadOnly = "read_only"
	noteUntold   = "untold"
	noteDecay    = "decay"
	noteHash     = "hash"
	// What was heard of the fleet, and its hold.
	noteFleet     = "fleet"
	noteFleetHold = "fleet_hold"
	noteOncall    = "oncall"
)

// shownSteps is how many steps the status shows.
const shownSteps = 10

// noteIf keeps a problem for the status, and says it once in the log. A nil error takes it back.
func (a *Agent) noteIf(about string, err error) {
	if err == nil {
		if _, was := a.notes[about]; was {
			delete(a.notes, about)
			a.cfg.Log.Info("problem gone", zap.String("about", about))
		}
		return
	}
	if a.notes[about] == err.Error() {
		return
	}
	a.notes[about] = err.Error()
	a.cfg.Log.Warn("problem", zap.String("about", about), zap.Error(err))
}

// Status returns the agent's state as it is now. It may be called from any goroutine.
func (a *Agent) Status(ctx context.Context) (Status, error) {
	return ask(ctx, a, a.status)
}

func (a *Agent) status() Status {
	now := time.Now()
	s := Status{
		Running: true, Version: a.cfg.Version, Host: a.cfg.Host, Site: a.cfg.Site, Mode: a.cfg.Policy.Mode,
		Kernel: a.kernel, BootID: a.bootID, StartedAt: a.startedAt, At: now, Incidents: a.tracker.Open(),
		IncidentsTotal: a.incidentsTotal, StepsTotal: slices.Clone(a.stepTotals),
		RefusedInPause: a.tracker.RefusedInPause(),
	}
	if held := a.ownHeldNow(now); held.Active(now) {
		s.Held = held
	}
	s.Fleet = a.fleetStatus(now)
	limits, err := a.table.Limits()
	a.noteIf(noteTable, err)
	s.Limits = limits
	if a.cfg.Policy.Mode == remediate.ModeRemediate {
		s.Foreign = a.tracker.ForeignStatus(now, a.cfg.Policy)
	}
	s.Hash = a.hashStatus(now, limits)
	a.reportTables(&s, now)
	for _, st := range a.streams {
		s.Sources = append(s.Sources, a.audited(st))
	}
	slices.SortFunc(s.Sources, func(x, y SourceStatus) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Path, y.Path))
	})
	for _, step := range slices.Backward(a.steps) {
		if len(s.Steps) == shownSteps {
			break
		}
		s.Steps = append(s.Steps, step)
	}
	a.reportDelivery(&s)
	for _, about := range slices.Sorted(maps.Keys(a.notes)) {
		s.Notes = append(s.Notes, a.notes[about])
	}
	return s
}

// reportTables fills in the namespaces and what their entries cost.
func (a *Agent) reportTables(s *Status, now time.Time) {
	memory := a.memoryNow(now)
	s.Memory.Memory = memory
	var entries uint64
	for _, space := range a.ranked() {
		rate, ttf := a.tracker.Growth(space.ns.Inode)
		s.NetNS = append(s.NetNS, NetNSStatus{
			NetNS: space.ns, Count: space.last.Count, Peak: space.peak, Counters: space.totals,
			Blind: space.last.Blind, InsertRate: rate, TimeToFull: seconds(ttf),
		})
		entries += space.last.Count
	}
	const bucketBytes = 8
	s.NetNSTotal = len(s.NetNS)
	s.Memory.TableBytes = entries*memory.EntryBytes + s.Limits.Buckets*bucketBytes
	worst := remediate.WorstEntries(s.Limits.Max, a.tracker.Peaks(a.initNetNS().Inode))
	s.Memory.WorstBytes = worst*memory.EntryBytes + s.Limits.Buckets*bucketBytes
}

// reportDelivery fills in what became of the events.
func (a *Agent) reportDelivery(s *Status) {
	problem, since := a.recorder.health()
	books := a.outbox.count()
	s.State = StateStatus{Saved: problem == "", Problem: problem}
	s.Oncall = a.pager.status()
	s.Outbox = OutboxStatus{Enabled: a.publisher != nil, Max: a.cfg.OutboxMax, JournalDropped: a.sink.Dropped()}
	if n := s.Outbox.JournalDropped; n > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf(
			"%d events are missing from the journal, which did not take them in time; look at systemd-journald", n))
	}
	if problem != "" {
		s.State.Since = since
		s.Notes = append(s.Notes, fmt.Sprintf("state not saved since %s: %s; %s", since.Format(time.DateTime), problem, withoutDisk))
	}
	if a.publisher == nil {
		return
	}
	s.Outbox.Events, s.Outbox.Unsaved, s.Outbox.Dropped = books.Events, books.Unsaved, books.Dropped
	p := a.publisher.Status()
	s.NATS = NATSStatus{
		Configured: true, Connected: p.Connected, Server: p.Server, Since: p.Since, Problem: p.Problem, Error: p.Error,
	}
}

func seconds(d time.Duration) *float64 {
	if d <= 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}
