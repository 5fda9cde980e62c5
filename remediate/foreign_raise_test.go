package remediate

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRaisedByOthers: whoever raises the limit wants room, so that steps go on from there.
func TestRaisedByOthers(t *testing.T) {
	t.Run("without a pause", func(t *testing.T) {
		q := &quarrel{script: play(t), p: allowed()}
		q.cfg.ForeignPause = q.p.ForeignPause
		q.tr = NewTracker(q.cfg, TrackerState{})
		q.read(host, 100, 0, 0).at(sec(1))
		q.lower(3000).expect("limit 1000-3000")
		if at := q.tr.ForeignAt(); !at.IsZero() || q.tr.ForeignStatus(q.now, q.p) != nil {
			t.Errorf("pauses since %s", at)
		}
		q.at(sec(2)).rise().decides(ReasonPressure)
		if q.limit != 6000 {
			t.Errorf("to %d; want twice what they set", q.limit)
		}
	})
	t.Run("in a pause, to where it began", func(t *testing.T) {
		q := disputed(t) // from 4,000 to 1,000
		q.at(sec(2)).refuse().decides(ReasonForeignChange)
		q.at(sec(3)).lower(4000).at(sec(4)).rise().decides(ReasonPressure)
	})
	t.Run("in a pause, to less than where it began", func(t *testing.T) {
		q := disputed(t)
		q.at(minutes(9)).lower(3000).at(minutes(9) + sec(1)).rise().decides(ReasonForeignChange)
		if want := "set from 4000 to 1000 by someone else; automatic steps pause for 1m0s more"; q.said() != want {
			t.Errorf("said %q, want %q", q.said(), want)
		}
		q.refuse()
		if st := q.tr.ForeignStatus(q.now, q.p); st == nil || st.New != 1000 || q.tr.RefusedInPause() != 7 {
			t.Errorf("status %+v, %d refused in the pause", st, q.tr.RefusedInPause())
		}
		q.at(minutes(10) + sec(1)).rise().decides(ReasonPressure)
	})
	t.Run("lowered again by who insists", func(t *testing.T) {
		q := disputed(t)
		q.at(minutes(1)).lower(5000).at(minutes(2)).lower(1000).at(minutes(12) - sec(1)).refuse().decides(ReasonForeignChange)
		q.at(minutes(12) + sec(1)).refuse().decides(ReasonFull)
	})
	t.Run("what is left of the pause counts once it is lowered for the third time", func(t *testing.T) {
		q := disputed(t)
		q.at(minutes(1)).lower(5000).at(minutes(2)).lower(1000).at(minutes(3)).lower(5000).at(minutes(4)).lower(1000)
		q.at(minutes(11)).refuse().decides(ReasonForeignChange)
		q.at(minutes(12) + sec(1)).refuse().decides(ReasonFull)
	})
	t.Run("lowered in two strides, and half of it undone", func(t *testing.T) {
		q := disputed(t)
		q.at(minutes(1)).lower(500).at(minutes(2)).lower(1000).at(minutes(3)).refuse().decides(ReasonForeignChange)
		q.at(minutes(4)).lower(4000).refuse().decides(ReasonFull)
	})
	t.Run("lowered to what they had raised it to", func(t *testing.T) {
		q := disputed(t)
		q.at(minutes(20)).lower(5000).at(minutes(21)).rise().decides(ReasonPressure)
		q.at(minutes(22)).lower(5000).at(minutes(31)).refuse().decides(ReasonForeignChange)
		q.at(minutes(33)).refuse().decides(ReasonFull)
		q.at(minutes(34)).lower(5000) // known as a lowering by now: no second pause, but twice is enough
		q.at(minutes(35)).refuse().decides(ReasonForeignChange)
		if q.tr.Foreign(q.now).Reraised != mostReraises || !q.tr.ForeignAt().Equal(after(minutes(22))) {
			t.Errorf("%+v, pauses since %s", q.tr.Foreign(q.now), q.tr.ForeignAt())
		}
	})
	t.Run("over a restart", func(t *testing.T) {
		q := disputed(t)
		q.at(minutes(1)).restart("b1").lower(4000).at(minutes(2)).restart("b1")
		q.at(minutes(2) + sec(1)).rise().decides(ReasonPressure)
	})
}

// A feud is what becomes of an hour in which two write the limit in turn and the table is full all the time.
type feud struct {
	paused time.Duration    // for how long steps paused
	raised map[uint64]int   // steps by the limit that they began at
	told   map[uint64][]int // the times that limit.changed gave, by value
	steps  int
}

// feudOf has others write values in turn, one every so often, from a limit of 200,000.
func feudOf(t *testing.T, every time.Duration, values ...uint64) feud {
	q := &quarrel{script: play(t), p: allowed()}
	q.p.Ceiling, q.p.StepsPerHour = 1<<30, 1000
	q.cfg.ForeignPause, q.limit = q.p.ForeignPause, 200_000
	q.tr = NewTracker(q.cfg, TrackerState{})
	q.read(host, 100, 0, 0)
	f := feud{raised: map[uint64]int{}, told: map[uint64][]int{}}
	const look = 5 * time.Second
	for at := look; at < time.Hour; at += look {
		q.at(at)
		if at%every == 0 {
			q.lower(values[int(at/every)%len(values)])
		}
		from := q.limit
		switch q.refuse().decide() {
		case ReasonFull, ReasonPressure:
			f.raised[from]++
			f.steps++
		case ReasonForeignChange:
			if within(q.now, q.tr.ForeignAt(), q.p.ForeignPause) {
				f.paused += look
			}
		}
	}
	for _, ev := range q.all {
		if c, ok := ev.Data.(LimitChange); ok {
			f.told[c.New] = append(f.told[c.New], c.Times)
		}
	}
	return f
}

// TestOthersInTurn: two who write in turn do not pause automatic steps for ever, nor are they fought.
func TestOthersInTurn(t *testing.T) {
	for _, c := range []struct {
		name   string
		every  time.Duration
		values []uint64
		paused time.Duration // at most
	}{
		{"a lower one and a higher one, every minute", time.Minute, []uint64{65536, 131072}, 20 * time.Minute},
		{"every five seconds", 5 * time.Second, []uint64{65536, 131072}, 20 * time.Minute},
		{"three of them", 30 * time.Second, []uint64{65536, 131072, 100_000}, 30 * time.Minute},
		{"one that is higher than ours", time.Minute, []uint64{65536, 300_000}, 20 * time.Minute},
		{"one alone", time.Minute, []uint64{65536}, 20 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := feudOf(t, c.every, c.values...)
			if f.paused > c.paused || f.paused < 4*time.Minute || f.steps == 0 {
				t.Errorf("paused for %s, %d steps; want %s at most, and a step", f.paused, f.steps, c.paused)
			}
			for _, v := range c.values {
				if n := f.raised[v]; n > mostReraises {
					t.Errorf("%d steps within the hour from %d, which others have set", n, v)
				}
				if n := f.told[v]; len(n) > 14 || !slices.IsSorted(n) {
					t.Errorf("limit.changed to %d was told with times %v", v, n)
				}
			}
		})
	}
}

// TestToldByRepetition: a value that is set again and again is told the first three times and at each doubling, afresh
// after ctwarden has raised it, and each time where they are more than an hour apart.
func TestToldByRepetition(t *testing.T) {
	q := disputed(t)
	for i := range 20 {
		q.at(minutes(1 + float64(i)/5)).lower(2000).at(minutes(1.1 + float64(i)/5)).lower(1000)
	}
	var told []int
	for _, ev := range q.all {
		if c, ok := ev.Data.(LimitChange); ok && c.New == 1000 {
			told = append(told, c.Times)
		}
	}
	if want := []int{1, 2, 3, 4, 8, 16}; !slices.Equal(told, want) {
		t.Errorf("told at times %v, want %v", told, want)
	}
	q.fresh = nil
	q.at(minutes(11.2)).refuse().decides(ReasonFull)
	q.fresh = nil
	q.at(minutes(12)).lower(1000)
	if q.count(EventLimitChanged) == 0 || q.tr.lastForeign().Times != 22 {
		t.Errorf("after a step %+v", q.tr.lastForeign())
	}
	for i := range 6 {
		q.at(minutes(80 * float64(i+1))).lower(4000).at(minutes(80*float64(i+1) + 1))
		q.fresh = nil
		q.lower(1000).expect("limit 4000-1000")
	}
}

// TestForeignOfAnEarlierVersion: a state that has each change by itself, and not what the last one set.
func TestForeignOfAnEarlierVersion(t *testing.T) {
	q := disputed(t)
	st := q.tr.State()
	st.Foreign.Set, st.Foreign.PausedFrom = 0, 0
	st.Foreign.Changes = []foreignChange{
		{At: noon, Old: 4000, New: 1000}, {At: noon, Old: 1000, New: 700, By: "x", Kind: WriterSysctl}, {At: q.now, Old: 4000, New: 1000},
	}
	st.Foreign.Reraised = []reraise{{At: q.now, Limit: 1000}, {At: q.now, Limit: 1000}}
	q.tr = NewTracker(q.cfg, st)
	if c := q.tr.lastForeign(); c.New != 1000 || c.Times != 2 || len(q.tr.State().Foreign.Changes) != 2 {
		t.Errorf("last %+v of %+v", c, q.tr.State().Foreign.Changes)
	}
	q.at(sec(2)).refuse()
	q.at(sec(3)).refuse().decides(ReasonForeignChange)
	if !strings.Contains(q.said(), "raised again 2 times within the hour") {
		t.Errorf("said %q", q.said())
	}
}

// TestUndoneStepsAreNoQuarrel: a step of ours that we took back stands against nobody's value, however often.
func TestUndoneStepsAreNoQuarrel(t *testing.T) {
	q := &quarrel{script: play(t), p: allowed()}
	q.cfg.ForeignPause = q.p.ForeignPause
	q.tr = NewTracker(q.cfg, TrackerState{})
	q.read(host, 100, 0, 0).at(sec(1))
	q.lower(3000)
	for i := range mostReraises + 1 {
		q.at(minutes(float64(1 + 2*i)))
		q.refuse().decides(ReasonFull)
		q.take(q.tr.Reverted(q.now, Step{From: q.limit, To: 3000, Reason: ReasonIneffective}))
		q.limit = 3000
		q.at(minutes(float64(2+2*i))).read(host, 100, q.drops, 0)
	}
	if n := len(q.tr.st.Foreign.Reraised); n > 0 {
		t.Errorf("%d are booked as raised against somebody else", n)
	}
}
