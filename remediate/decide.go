package remediate

import (
	"math"
	"time"
)

const (
	// FullShare is the share of the limit from which a rising counter of refusals means a full table: the counter
	// also rises for other verdicts, and entries expire between the refusal and the reading.
	FullShare = 0.97
	// MaxReadingAge is how old the reading under a decision may be.
	MaxReadingAge = time.Second
	// StallPerEntry is how long a resize of the hash stops all inserts for each entry that it moves; measured.
	StallPerEntry = 450 * time.Nanosecond
	// QuietStall is the longest predicted stall of a resize that is never too long.
	QuietStall = 20 * time.Millisecond
	// MaxLimit is the highest limit that the kernel takes (INT_MAX).
	MaxLimit = math.MaxInt32

	// bucketMultiple is what the kernel rounds the number of buckets up to.
	bucketMultiple = 512
	// bucketBytes is what one bucket costs.
	bucketBytes = 8
	// leastGain is the smallest part of the limit that is worth a step: 1/16.
	leastGain = 16
	// risingShare is the part of the horizon (a quarter) within which a table must be foreseen to be full for pressure to
	// count as rising demand: over longer, the noise of a table that merely stands high looks like growth.
	risingShare = 4
	// FoundedForecast is the confidence from which a forecast counts: as much of the way to a full table lies behind as
	// before. A table that has come up and stands, or goes to and fro, at 90% never comes to that.
	FoundedForecast = 0.5
	// foundedNearby is how much of the way must lie behind, however slowly, where less than reserveTime of max_insert_rate
	// is free.
	foundedNearby = 0.1
	// reserveTime is how long the free entries must last at max_insert_rate: the shortest time between two readings and
	// what a step takes.
	reserveTime = MinPeriod + 2*time.Millisecond
	// cleanDigits is how many digits a limit that demand asks for, or a guard bounds, keeps; the others are rounded to
	// zeros: up for demand, down for a guard.
	cleanDigits = 2
)

// Decide says what to do next and why. It is a pure function: the same input gives the same answer.
//
// What asks is checked first (no_pressure); then the guards, in a fixed order, of which the first that objects names
// the reason. A guard may also make the step smaller, as long as enough of it is left. The limit is never lowered,
// never set to 0 and never above the ceiling.
func Decide(p Policy, s Situation) Decision {
	d := Decision{
		From: s.Limits.Max, Trigger: s.Ask.Reason, IncidentID: s.Ask.IncidentID, NetNS: s.Ask.Reading.NetNS,
		Reason: ReasonNoPressure,
	}
	want := wanted(p, s)
	if want <= d.From {
		return d
	}
	d.To = min(want, max(p.Ceiling, d.From), MaxLimit)
	for _, guard := range guards {
		if reason := guard(p, s, &d); reason != "" {
			d.Reason, d.Buckets = reason, 0
			return d
		}
	}
	d.Do, d.Reason = true, s.Ask.Reason
	return d
}

// wanted is the limit that the situation asks for before any guard is heard; 0: nothing asks. A limit of 0 means no
// limit at all (before Linux 6.19) and never wants one.
func wanted(p Policy, s Situation) uint64 {
	if s.Limits.Max == 0 {
		return 0
	}
	switch s.Ask.Reason {
	case ReasonManual, ReasonBoot:
		return s.Ask.To
	case ReasonPressure, ReasonForecast:
		// Under a higher limit than the reading's own, what it foresaw no longer holds: a step was just taken.
		if s.Ask.Reading.Max < s.Limits.Max || !foreseen(p, s.Ask) {
			return 0
		}
	case ReasonFull:
	default:
		return 0
	}
	limit := float64(s.Limits.Max)
	want := limit * p.Step
	if demand := float64(s.Ask.Demand); demand > want && !justStepped(s) {
		want = clean(demand)
	}
	want = min(want, limit*p.MaxStep, MaxLimit)
	if math.IsNaN(want) {
		return 0
	}
	return uint64(math.Ceil(want))
}

// justStepped tells whether the incident's last step was taken in the same burst, so that its demand was heard then: one
// that goes on is heard again when that room is used up. What is refused needs all the room it can get.
func justStepped(s Situation) bool {
	return s.Ask.Reason != ReasonFull && within(s.Now, s.Ask.LastStep, StepLead)
}

// clean rounds a number up to one that people can read.
func clean(n float64) float64 {
	unit := cleanUnit(n)
	return math.Ceil(n/unit) * unit
}

// cleanUnit is what a number of that size is a multiple of where people can read it.
func cleanUnit(n float64) float64 {
	return math.Pow10(max(int(math.Log10(n))+1-cleanDigits, 0))
}

// foreseen tells whether the reading and its trend bear out an ask that comes before anything is refused.
func foreseen(p Policy, a Ask) bool {
	free := float64(a.Reading.Free())
	if a.Surge > 0 && free <= a.Surge {
		return true
	}
	return a.Reason == ReasonPressure && a.Reading.Fill() >= p.Pressure && rising(p, a, free)
}

// rising tells growing demand from a table that merely stands high, or goes up and down there.
func rising(p Policy, a Ask, free float64) bool {
	if a.TimeToFull <= 0 {
		return free == 0 && a.Risen >= foundedNearby // it has risen as far as it can
	}
	if free <= p.MaxInsertRate*reserveTime.Seconds() {
		return a.Risen >= foundedNearby
	}
	return a.TimeToFull <= p.Horizon/risingShare && a.Confidence >= FoundedForecast
}

// A guard looks at a step that is asked for. It returns the reason why the step must not be, or "" after making it
// smaller where it has to be.
type guard func(p Policy, s Situation, d *Decision) Reason

var guards = []guard{
	guardUnverified, guardMode, guardHeld, guardReadOnly, guardForeign, guardIneffective, guardFlood, guardCooldown, guardBudget,
	guardCeiling, guardMemory, guardChain,
}

// within tells whether at is known and less than span away from now. A time ahead of now was written before the clock
// was set back; it counts for as long as it would have, and no longer.
func within(now, at time.Time, span time.Duration) bool {
	return !at.IsZero() && now.Sub(at) < span && at.Sub(now) < span
}

// guardUnverified wants a reading of the last second that shows what the ask says.
func guardUnverified(_ Policy, s Situation, _ *Decision) Reason {
	r := s.Ask.Reading
	age := s.Now.Sub(r.At)
	switch {
	case s.Ask.named():
		return ""
	case r.Blind, r.At.IsZero(), age < 0, age >= MaxReadingAge:
		return ReasonUnverified
	case s.Ask.Reason == ReasonFull && (!r.CountersOK || s.Ask.Refused == 0):
		return ReasonUnverified
	case s.Ask.Reason == ReasonFull && float64(r.Count) < FullShare*float64(s.Limits.Max):
		return ReasonUnverified
	}
	return ""
}

func guardMode(p Policy, s Situation, _ *Decision) Reason {
	if s.Ask.automatic() && p.Mode != ModeRemediate {
		return ReasonObserveMode
	}
	return ""
}

func guardHeld(_ Policy, s Situation, d *Decision) Reason {
	if !s.Ask.automatic() || !s.Held.Active(s.Now) {
		return ""
	}
	if s.Held.Fleet {
		d.Held = s.Held
	}
	return ReasonHeld
}

func guardReadOnly(_ Policy, s Situation, _ *Decision) Reason {
	if !s.Limits.Writable {
		return ReasonReadOnly
	}
	return ""
}

func guardForeign(p Policy, s Situation, _ *Decision) Reason {
	if s.Ask.automatic() && s.Foreign.stance(p, s.Now, s.ForeignAt, s.Ask.Reason) != stanceFree {
		return ReasonForeignChange
	}
	return ""
}

// guardIneffective takes no second step for what the first did not help against. A table that has been filling up
// anew since that one was undone, or has filled up and refuses, is another cause.
func guardIneffective(p Policy, s Situation, _ *Decision) Reason {
	anew := rising(p, s.Ask, float64(s.Ask.Reading.Free())) || s.Ask.Refused > 0 && s.Ask.Risen >= FoundedForecast
	if s.Ask.Ineffective && !s.Ask.named() && !anew {
		return ReasonIneffective
	}
	return ""
}

func guardFlood(p Policy, s Situation, _ *Decision) Reason {
	if s.Flood && !p.RaiseOnFlood && !s.Ask.named() {
		return ReasonFlood
	}
	return ""
}

func guardCooldown(p Policy, s Situation, _ *Decision) Reason {
	if !s.Ask.named() && within(s.Now, s.Ask.LastStep, p.Cooldown) {
		return ReasonCooldown
	}
	return ""
}

func guardBudget(p Policy, s Situation, _ *Decision) Reason {
	if s.Ask.named() {
		return ""
	}
	taken := 0
	for _, at := range s.StepTimes {
		if within(s.Now, at, time.Hour) {
			taken++
		}
	}
	if taken >= p.StepsPerHour {
		return ReasonBudget
	}
	return ""
}

// guardCeiling refuses what is left of a step that the ceiling took away, and a named target above it.
func guardCeiling(p Policy, s Situation, d *Decision) Reason {
	if d.To <= d.From || s.Ask.Reason == ReasonManual && s.Ask.To > p.Ceiling {
		return ReasonAtCeiling
	}
	return ""
}
