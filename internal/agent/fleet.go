package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// fleetKey is the name in the state file of what was heard of the fleet.
	fleetKey = "fleet"
	// keptOrders is how many orders are kept, so that none is carried out twice.
	keptOrders = 16
	// fleetHoldFresh is for how long a reading of the fleet's hold counts. Nobody but the agent writes it, which reads it
	// anew then; an operator who removes the file by hand waits for so long.
	fleetHoldFresh = time.Second
)

// heard is what this host has heard of the fleet, as the state file has it. The hold is not in it: that is a file of its
// own, which holds whatever becomes of the state file. Where the rest is lost, the host observes until the fleet says its
// mode again, which it does when it sees a revision that is behind.
type heard struct {
	HoldRev   uint64         `json:"hold_rev,omitempty"`
	ModeRev   uint64         `json:"mode_rev,omitempty"`
	Mode      remediate.Mode `json:"mode,omitempty"` // empty: none was said
	ModeUntil time.Time      `json:"mode_until,omitzero"`
	Orders    []heardOrder   `json:"orders,omitempty"` // the last ones, the newest last
}

// heardOrder is an order that was carried out, or was not for this host.
type heardOrder struct {
	notify.Command
	Heard  time.Time            `json:"heard"`
	Reason notify.CommandReason `json:"reason,omitempty"` // why it was not carried out
}

// fleet is what the loop knows of the fleet.
type fleet struct {
	heard   heard
	unsaved bool
	reader  *holdReader
	// hold is what was read at readAt, err why no better is known.
	hold   *remediate.Hold
	err    error
	readAt time.Time
	// shared is what the fleet's bucket was last told at once.
	shared sharedAtOnce
}

// verdict is why an order is not carried out. The zero value: it is.
type verdict struct {
	reason notify.CommandReason
	text   string
}

func unfit(reason notify.CommandReason, format string, args ...any) verdict {
	return verdict{reason, fmt.Sprintf(format, args...)}
}

func (h *heard) rev() uint64 { return max(h.HoldRev, h.ModeRev) }

// of is the revision that an order is compared with, that of the last order of its kind.
func (h *heard) of(v notify.CommandVerb) *uint64 {
	if v == notify.CommandMode {
		return &h.ModeRev
	}
	return &h.HoldRev
}

// judge tells whether an order is to be carried out at now on a host that leaves its mode to the fleet, or does not.
func (h *heard) judge(c notify.Command, now time.Time, awaits bool) verdict {
	apart := now.Sub(c.At)
	switch last := *h.of(c.Verb); {
	case slices.ContainsFunc(h.Orders, func(o heardOrder) bool { return o.ID == c.ID }):
		return unfit(notify.CommandRepeated, "order %s was heard before", c.ID)
	case c.Rev < last:
		return unfit(notify.CommandOld, "revision %d is older than %d, which was heard before", c.Rev, last)
	case apart > notify.CommandAge || apart < -notify.CommandAge:
		return unfit(notify.CommandClock, "the order is of %s, and this host's clock says %s: see to its clock, or the order was played again",
			c.At.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case !c.Until.IsZero() && !now.Before(c.Until):
		return unfit(notify.CommandExpired, "it ended at %s", c.Until.UTC().Format(time.RFC3339))
	case c.Verb == notify.CommandMode && !awaits:
		return unfit(notify.CommandNotAwaited,
			"this host's own configuration says its mode; mode: remediate with remediate.await_fleet: true leaves it to the fleet")
	}
	return verdict{}
}

// book keeps an order that was carried out, or is not for this host.
func (h *heard) book(c notify.Command, v verdict, now time.Time) {
	rev := h.of(c.Verb)
	*rev = max(*rev, c.Rev)
	if c.Verb == notify.CommandMode && v.reason == "" {
		h.Mode, h.ModeUntil = c.Mode, c.Until
	}
	h.Orders = append(h.Orders, heardOrder{Command: c, Heard: now, Reason: v.reason})
	h.Orders = h.Orders[max(len(h.Orders)-keptOrders, 0):]
}

// mode is what the fleet said last, while it is in force; empty: nothing.
func (h *heard) mode(now time.Time) remediate.Mode {
	if !h.ModeUntil.IsZero() && !now.Before(h.ModeUntil) {
		return ""
	}
	return h.Mode
}

// restoreFleet takes over what the run before has heard.
func (a *Agent) restoreFleet() {
	if saved := a.meta[fleetKey]; len(saved) > 0 {
		if err := json.Unmarshal(saved, &a.fleet.heard); err != nil {
			a.fleet.heard = heard{}
			a.noteIf(noteFleet, fmt.Errorf("what was heard of the fleet is not understood, and is begun afresh: %w", err))
		}
	}
	a.applyMode(time.Now())
}

// fleetMeta is what the state file is to keep; nil: what it has.
func (a *Agent) fleetMeta() []byte {
	if !a.fleet.unsaved {
		return nil
	}
	a.fleet.unsaved = false
	b, err := json.Marshal(a.fleet.heard)
	if err != nil {
		a.cfg.Log.Error("what was heard of the fleet is not saved", zap.Error(err))
	}
	return b
}

// awaits tells whether the configuration leaves the mode to the fleet. The fleet can never make a host act whose own
// configuration does not say remediate.
func (a *Agent) awaits() bool { return a.cfg.AwaitFleet && a.ownMode == remediate.ModeRemediate }

// applyMode brings the mode in line with the configuration and the fleet. It tells whether it is another now.
func (a *Agent) applyMode(now time.Time) bool {
	mode := a.ownMode
	if a.awaits() && a.fleet.heard.mode(now) != remediate.ModeRemediate {
		mode = remediate.ModeObserve
	}
	if mode == a.cfg.Policy.Mode {
		return false
	}
	a.cfg.Policy.Mode = mode
	if a.tracker != nil { // else it is made with it
		a.tracker.Configure(a.trackerConfig())
	}
	a.readSoon()
	return true
}

// fleetHeldNow reads the fleet's hold.
func (a *Agent) fleetHeldNow(now time.Time) *remediate.Hold {
	f := &a.fleet
	if since := now.Sub(f.readAt); since < 0 || since >= fleetHoldFresh {
		f.hold, f.err = f.reader.read(now)
		f.readAt = now
	}
	a.noteIf(noteFleetHold, f.err)
	if !f.hold.Active(now) {
		return nil
	}
	return f.hold
}

// fleetStatus is what was heard of the fleet; nil on a host that has nothing to do with one.
func (a *Agent) fleetStatus(now time.Time) *notify.FleetState {
	h := &a.fleet.heard
	s := &notify.FleetState{
		Rev: h.rev(), HoldRev: h.HoldRev, ModeRev: h.ModeRev, Hold: a.fleetHeldNow(now), Mode: h.mode(now), Awaits: a.awaits(),
	}
	if s.Mode != "" {
		s.ModeUntil = h.ModeUntil
	}
	if a.publisher != nil {
		s.Problem = a.publisher.Status().Orders
	} else if s.Rev == 0 && s.Hold == nil && !s.Awaits {
		return nil
	}
	return s
}

// fleetTick does what time alone brings: a mode of the fleet's ends, and the fleet is told at once of what it must know.
func (a *Agent) fleetTick(now time.Time) {
	if a.applyMode(now) {
		a.cfg.Log.Info("mode changed", zap.String("mode", string(a.cfg.Policy.Mode)), zap.String("because", "what the fleet said has ended"))
	}
	a.shareChanges(now)
}
