package remediate

import (
	"math"
	"time"
)

const (
	// decayShare is the part of the limit (a quarter) that every table must stay below for a step back down.
	decayShare = 4
	// watchGap is the longest time between two readings of the first namespace that counts as watched.
	watchGap = 5 * time.Second
)

// Decay is what a step back down rests on.
type Decay struct {
	// Quiet is for how long, watched, every namespace has stayed below a quarter of the limit, and no incident was open.
	Quiet time.Duration
	// Live is the highest count of any namespace now, Peak the highest in that time.
	Live, Peak uint64
	// Found is the limit found at the very first start, Base the one that the automatic steps which led to the present
	// limit began at. 0: not known, or the limit is none that ctwarden raised.
	Found, Base uint64
}

// DecideDecay says whether the limit is to go one step back down, and why not. It is a pure function, like [Decide].
//
// It goes down by the factor of one step, and never below twice the most entries of that time, the limit found at the very first
// start, or what somebody else or an operator has set. The rest of the situation is as for a step up, with an ask for
// [ReasonDecay].
func DecideDecay(p Policy, s Situation, y Decay) Decision {
	d := Decision{From: s.Limits.Max, Trigger: ReasonDecay, Reason: ReasonNoPressure, NetNS: s.Ask.Reading.NetNS}
	switch {
	case p.Decay <= 0, y.Quiet < p.Decay, y.Found == 0, y.Base == 0, d.From > MaxLimit, !(p.Step > 1):
		return d
	case y.Live > MaxLimit/2, float64(y.Live) >= float64(d.From)/decayShare:
		return d
	}
	to := max(uint64(math.Ceil(float64(d.From)/p.Step)), 2*max(y.Live, min(y.Peak, MaxLimit/2)), y.Found, y.Base)
	if to >= d.From {
		return d
	}
	d.To = to
	s.Ask.Reason = ReasonDecay
	for _, guard := range []guard{guardMode, guardHeld, guardReadOnly, guardForeign} {
		if reason := guard(p, s, &d); reason != "" {
			d.Reason = reason
			return d
		}
	}
	d.Do, d.Reason = true, ReasonDecay
	return d
}

// watchQuiet counts the time for which every table stays below a quarter of the limit. What lies between two readings
// that are far apart, as over a restart, was not watched and does not count. A changed limit has it begin again, as does
// a boot.
func (t *Tracker) watchQuiet(r Reading) {
	if t.st.FirstLimit == nil {
		first := r.Max
		t.st.FirstLimit = &first
	}
	calm := t.cfg.Decay > 0 && len(t.st.Open) == 0 && r.Max != 0 && r.Fill() < 1.0/decayShare
	if !calm {
		t.st.Quiet, t.st.QuietPeak = 0, 0
	}
	t.st.QuietPeak = max(t.st.QuietPeak, r.Count)
	if !r.NetNS.Init {
		return
	}
	gap := r.At.Sub(t.quietAt)
	watched := !t.quietAt.IsZero() && gap > 0 && gap <= watchGap
	t.quietAt = r.At
	if watched && calm {
		t.st.Quiet += gap
	}
}

// Quiet is for how long, watched, every namespace has stayed below a quarter of the limit; always 0 without
// [TrackerConfig.Decay].
func (t *Tracker) Quiet() time.Duration { return t.st.Quiet }

// QuietPeak is the highest count of any namespace in that time.
func (t *Tracker) QuietPeak() uint64 { return t.st.QuietPeak }

// FirstLimit is the limit that the very first reading found, on this host's first start; 0: there was none yet, or the
// table had no limit.
func (t *Tracker) FirstLimit() uint64 {
	if t.st.FirstLimit == nil {
		return 0
	}
	return *t.st.FirstLimit
}
