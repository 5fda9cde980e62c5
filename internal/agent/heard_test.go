package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestWhichOrdersAreCarriedOut goes through what keeps an order from being carried out.
func TestWhichOrdersAreCarriedOut(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	hold := func(rev uint64) notify.Command {
		return notify.Command{ID: fmt.Sprintf("hold-%d", rev), Rev: rev, At: now, By: "ann", Verb: notify.CommandHold}
	}
	mode := func(rev uint64) notify.Command {
		return notify.Command{ID: fmt.Sprintf("mode-%d", rev), Rev: rev, At: now, By: "ann", Verb: notify.CommandMode, Mode: remediate.ModeRemediate}
	}
	tests := []struct {
		name   string
		before []notify.Command
		order  notify.Command
		change func(*notify.Command)
		awaits bool
		want   notify.CommandReason
	}{
		{"the first", nil, hold(5), nil, false, ""},
		{"a newer one", []notify.Command{hold(5)}, hold(6), nil, false, ""},
		{"of the same revision", []notify.Command{hold(5)}, hold(5), func(c *notify.Command) { c.ID = "again" }, false, ""},
		{"an older one", []notify.Command{hold(5)}, hold(4), nil, false, notify.CommandOld},
		{"the same one", []notify.Command{hold(5)}, hold(5), nil, false, notify.CommandRepeated},
		{"the same one behind a newer", []notify.Command{hold(5), hold(6)}, hold(5), nil, false, notify.CommandRepeated},
		{"one that is older than one of the other kind", []notify.Command{mode(9)}, hold(5), nil, true, ""},
		{"given long ago", nil, hold(5), func(c *notify.Command) { c.At = now.Add(-notify.CommandAge - time.Second) }, false, notify.CommandClock},
		{"given in the future", nil, hold(5), func(c *notify.Command) { c.At = now.Add(notify.CommandAge + time.Second) }, false, notify.CommandClock},
		{"given a while ago", nil, hold(5), func(c *notify.Command) { c.At = now.Add(-notify.CommandAge + time.Second) }, false, ""},
		{"that is over", nil, hold(5), func(c *notify.Command) { c.At, c.Until = now.Add(-time.Minute), now }, false, notify.CommandExpired},
		{"a mode that is awaited", nil, mode(5), nil, true, ""},
		{"a mode that is not", nil, mode(5), nil, false, notify.CommandNotAwaited},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h heard
			for _, c := range tt.before {
				h.book(c, verdict{}, now)
			}
			if tt.change != nil {
				tt.change(&tt.order)
			}
			got := h.judge(tt.order, now, tt.awaits)
			if got.reason != tt.want || (got.reason == "") != (got.text == "") {
				t.Errorf("%q (%s), want %q", got.reason, got.text, tt.want)
			}
		})
	}
}

// TestTheModeOfTheFleetEnds: its word counts until its time runs out, and no order of another kind ends it.
func TestTheModeOfTheFleetEnds(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	var h heard
	h.book(notify.Command{ID: "m", Rev: 3, At: now, Until: now.Add(time.Hour), Verb: notify.CommandMode, Mode: remediate.ModeRemediate}, verdict{}, now)
	h.book(notify.Command{ID: "h", Rev: 4, At: now, Verb: notify.CommandHold}, verdict{}, now)
	h.book(notify.Command{ID: "n", Rev: 5, At: now, Verb: notify.CommandMode, Mode: remediate.ModeObserve}, unfit(notify.CommandNotAwaited, "no"), now)
	for after, want := range map[time.Duration]remediate.Mode{0: remediate.ModeRemediate, time.Hour - 1: remediate.ModeRemediate, time.Hour: ""} {
		if got := h.mode(now.Add(after)); got != want {
			t.Errorf("after %v: %q, want %q", after, got, want)
		}
	}
	if h.rev() != 5 || h.HoldRev != 4 || h.ModeRev != 5 {
		t.Errorf("%+v", h)
	}
}

// TestOrdersAreBounded: a hub gone wild fills no disk.
func TestOrdersAreBounded(t *testing.T) {
	var h heard
	for i := range 1000 {
		h.book(notify.Command{ID: fmt.Sprint(i), Rev: uint64(i), Verb: notify.CommandHold}, verdict{}, time.Time{})
	}
	if len(h.Orders) != keptOrders || h.Orders[keptOrders-1].ID != "999" {
		t.Errorf("%d orders are kept, the last %+v", len(h.Orders), h.Orders[len(h.Orders)-1])
	}
}
