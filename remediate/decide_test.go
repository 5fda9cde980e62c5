package remediate

import (
	"math"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// allowed is a policy that lets steps happen, with figures that are all different from each other.
func allowed() Policy {
	return Policy{
		Mode: ModeRemediate, Pressure: 0.90, Horizon: time.Minute, Ceiling: 524288, Step: 2, MaxStep: 4,
		MaxInsertRate: 200000, MemoryShare: 0.05, Cooldown: 0, StepsPerHour: 12, Buckets: BucketsPresize,
		MaxStall: 100 * time.Millisecond, ForeignPause: 10 * time.Minute,
	}
}

// refusing is a namespace at its limit of 65,536 that refused 17 packets, on a host with 48 GB.
func refusing() Situation {
	return Situation{
		Now: noon,
		Ask: Ask{
			Reason: ReasonFull, IncidentID: "inc", Refused: 17,
			Reading: Reading{
				At: noon.Add(-5 * time.Millisecond), NetNS: NetNS{Inode: 4026531840, Name: "init", Init: true},
				Count: 65535, Max: 65536, Buckets: 16384, CountersOK: true,
			},
		},
		Limits: Limits{Max: 65536, OldMax: 65536, Buckets: 16384, Writable: true, BucketsWritable: true},
		Memory: Memory{Total: 48 << 30, Available: 20 << 30, EntryBytes: 512},
		Chains: ChainsLong, Entries: 65535,
	}
}

// filling is the same namespace at 92% and full in 15 s, a quarter of the horizon.
func filling() Situation {
	s := refusing()
	s.Ask.Reason, s.Ask.Refused, s.Ask.TimeToFull, s.Ask.Confidence = ReasonPressure, 0, 15*time.Second, 0.5
	s.Ask.Reading.Count, s.Ask.Reading.CountersOK = 60300, false
	return s
}

// surging is the same namespace half empty, with what is free to come in the next tenth of a second.
func surging() Situation {
	s := filling()
	s.Ask.Reason, s.Ask.Reading.Count = ReasonForecast, 35536
	s.Ask.TimeToFull, s.Ask.Confidence, s.Ask.Surge = 0, 0, 30000
	return s
}

func asked(reason Reason, to uint64) Situation {
	s := refusing()
	s.Ask = Ask{Reason: reason, To: to}
	return s
}

type decideCase struct {
	name    string
	from    Situation
	change  func(*Policy, *Situation)
	reason  Reason
	do      bool
	to      uint64
	buckets uint64
}

func (c decideCase) run(t *testing.T) {
	t.Helper()
	p, s := allowed(), c.from
	if c.change != nil {
		c.change(&p, &s)
	}
	d := Decide(p, s)
	if d.Do != c.do || d.Reason != c.reason || d.To != c.to || d.Buckets != c.buckets {
		t.Errorf("Decide = do %v, %s, to %d, buckets %d; want do %v, %s, to %d, buckets %d",
			d.Do, d.Reason, d.To, d.Buckets, c.do, c.reason, c.to, c.buckets)
	}
	if d.From != s.Limits.Max || d.Trigger != s.Ask.Reason || d.IncidentID != s.Ask.IncidentID ||
		d.NetNS != s.Ask.Reading.NetNS {
		t.Errorf("Decide does not say what it rests on: %+v", d)
	}
}

// TestDecideAfterAStepThatDidNotHelp: a full table need not grow, and has entries free whenever one expires.
func TestDecideAfterAStepThatDidNotHelp(t *testing.T) {
	full := func(free uint64, risen float64) func(*Policy, *Situation) {
		return func(_ *Policy, s *Situation) {
			s.Ask.Ineffective, s.Ask.Reading.Count, s.Ask.Risen, s.Ask.Refused = true, 65536-free, risen, 1000
		}
	}
	for _, c := range []decideCase{
		{"none free", refusing(), full(0, 0.5), ReasonFull, true, 131072, 0},
		{"one free", refusing(), full(1, 0.5), ReasonFull, true, 131072, 0},
		{"200 free", refusing(), full(200, 0.5), ReasonFull, true, 131072, 0},
		{"200 free, less than half of the way behind", refusing(), full(200, 0.49), ReasonIneffective, false, 131072, 0},
		{"it stands where it stood", refusing(), full(0, 0), ReasonIneffective, false, 131072, 0},
		{"it stands high and refuses nothing", filling(), func(_ *Policy, s *Situation) {
			s.Ask.Ineffective, s.Ask.Surge, s.Ask.TimeToFull, s.Ask.Risen = true, 65536, 0, 0.5
		}, ReasonIneffective, false, 131072, 0},
		{"by hand", asked(ReasonManual, 100000), full(200, 0), ReasonManual, true, 100000, 0},
	} {
		t.Run(c.name, c.run)
	}
}

func TestDecideWhatAsks(t *testing.T) {
	for _, c := range []decideCase{
		{"full doubles", refusing(), nil, ReasonFull, true, 131072, 0},
		{"pressure doubles", filling(), nil, ReasonPressure, true, 131072, 0},
		{"nothing asks", refusing(), func(_ *Policy, s *Situation) { s.Ask.Reason = "" }, ReasonNoPressure, false, 0, 0},
		{"a word that asks for nothing", refusing(), func(_ *Policy, s *Situation) { s.Ask.Reason = ReasonDecay }, ReasonNoPressure, false, 0, 0},
		{"from no limit", refusing(), func(_ *Policy, s *Situation) { s.Limits.Max = 0 }, ReasonNoPressure, false, 0, 0},
		{"by hand from no limit", asked(ReasonManual, 70000), func(_ *Policy, s *Situation) { s.Limits.Max = 0 }, ReasonNoPressure, false, 0, 0},
		{"pressure below its share", filling(), func(_ *Policy, s *Situation) { s.Ask.Reading.Count = 58982 }, ReasonNoPressure, false, 0, 0},
		{"pressure at its share", filling(), func(_ *Policy, s *Situation) { s.Ask.Reading.Count = 58983 }, ReasonPressure, true, 131072, 0},
		{"pressure that does not rise", filling(), func(_ *Policy, s *Situation) { s.Ask.TimeToFull = 0 }, ReasonNoPressure, false, 0, 0},
		{"pressure that rises slowly", filling(), func(_ *Policy, s *Situation) { s.Ask.TimeToFull++ }, ReasonNoPressure, false, 0, 0},
		{"pressure on a limit that was raised since", filling(), func(_ *Policy, s *Situation) { s.Limits.Max = 131072 }, ReasonNoPressure, false, 0, 0},
		{"pressure that goes to and fro", filling(), func(_ *Policy, s *Situation) { s.Ask.Confidence = 0.49 }, ReasonNoPressure, false, 0, 0},
		{"pressure that a surge could outrun", filling(), func(_ *Policy, s *Situation) {
			s.Ask.Confidence, s.Ask.TimeToFull, s.Ask.Surge = 0, 0, 5236
		}, ReasonPressure, true, 131072, 0},
		{"seven milliseconds from full at the highest rate", filling(), func(_ *Policy, s *Situation) {
			s.Ask.Reading.Count, s.Ask.Risen, s.Ask.TimeToFull = 65536-1400, 0.1, time.Hour
		}, ReasonPressure, true, 131072, 0},
		{"the same, standing still", filling(), func(_ *Policy, s *Situation) {
			s.Ask.Reading.Count, s.Ask.Risen = 65536-1400, 0.09
		}, ReasonNoPressure, false, 0, 0},
		{"the same, falling", filling(), func(_ *Policy, s *Situation) {
			s.Ask.Reading.Count, s.Ask.Risen, s.Ask.TimeToFull = 65536-1400, 0.5, 0
		}, ReasonNoPressure, false, 0, 0},
		{"the same with one more free", filling(), func(_ *Policy, s *Situation) {
			s.Ask.Reading.Count, s.Ask.Risen, s.Ask.TimeToFull = 65536-1401, 0.1, time.Hour
		}, ReasonNoPressure, false, 0, 0},
		{"a surge as large as what is free", surging(), nil, ReasonForecast, true, 131072, 0},
		{"a surge that leaves room", surging(), func(_ *Policy, s *Situation) { s.Ask.Surge-- }, ReasonNoPressure, false, 0, 0},
		{"no surge, and nothing free", surging(), func(_ *Policy, s *Situation) {
			s.Ask.Surge, s.Ask.Reading.Count = 0, 65536
		}, ReasonNoPressure, false, 0, 0},
		{"a surge for a limit that was raised since", surging(), func(_ *Policy, s *Situation) { s.Limits.Max = 131072 }, ReasonNoPressure, false, 0, 0},
		{"demand is a clean figure", refusing(), func(_ *Policy, s *Situation) { s.Ask.Demand, s.Chains = 170001, ChainsFree }, ReasonFull, true, 180000, 0},
		{"by hand", asked(ReasonManual, 100001), nil, ReasonManual, true, 100001, 0},
		{"by hand beyond max_step", asked(ReasonManual, 500000), func(_ *Policy, s *Situation) { s.Limits.Buckets = 131072 }, ReasonManual, true, 500000, 0},
		{"by hand to what it is", asked(ReasonManual, 65536), nil, ReasonNoPressure, false, 0, 0},
		{"by hand to less", asked(ReasonManual, 65535), nil, ReasonNoPressure, false, 0, 0},
		{"at boot", asked(ReasonBoot, 120000), nil, ReasonBoot, true, 120000, 0},
		{"at boot to less", asked(ReasonBoot, 4), nil, ReasonNoPressure, false, 0, 0},
		{"demand beyond the factor", refusing(), func(_ *Policy, s *Situation) { s.Ask.Demand, s.Chains = 200000, ChainsFree }, ReasonFull, true, 200000, 0},
		{"demand of a burst that was just stepped for", surging(), func(_ *Policy, s *Situation) {
			s.Ask.Demand, s.Chains, s.Ask.LastStep = 200000, ChainsFree, noon.Add(-StepLead+1)
		}, ReasonForecast, true, 131072, 0},
		{"demand of a burst that goes on", surging(), func(_ *Policy, s *Situation) {
			s.Ask.Demand, s.Chains, s.Ask.LastStep = 200000, ChainsFree, noon.Add(-StepLead)
		}, ReasonForecast, true, 200000, 0},
		{"demand of refusals after a step", refusing(), func(_ *Policy, s *Situation) {
			s.Ask.Demand, s.Chains, s.Ask.LastStep = 200000, ChainsFree, noon.Add(-1)
		}, ReasonFull, true, 200000, 0},
		{"demand below the factor", refusing(), func(_ *Policy, s *Situation) { s.Ask.Demand = 70000 }, ReasonFull, true, 131072, 0},
		{"demand beyond max_step", refusing(), func(_ *Policy, s *Situation) { s.Ask.Demand, s.Chains = 400000, ChainsFree }, ReasonFull, true, 262144, 0},
		{"a factor above max_step", refusing(), func(p *Policy, _ *Situation) { p.Step, p.MaxStep = 3, 1.5 }, ReasonFull, true, 98304, 0},
		{"a factor that is a fraction rounds up", refusing(), func(p *Policy, s *Situation) {
			p.Step, s.Limits.Max, s.Ask.Reading.Count, s.Ask.Reading.Max = 1.5, 3, 3, 3
		}, ReasonFull, true, 5, 0},
		{"a factor that is not a number", refusing(), func(p *Policy, _ *Situation) { p.Step = math.NaN() }, ReasonNoPressure, false, 0, 0},
		{"a factor without end", refusing(), func(p *Policy, s *Situation) {
			p.Step, p.MaxStep, p.Ceiling, s.Chains = math.Inf(1), math.Inf(1), math.MaxUint64, ChainsFree
			p.MemoryShare, s.Memory.Total, s.Memory.Available = 1, 8<<40, 8<<40
		}, ReasonFull, true, math.MaxInt32, 0},
		{"a factor below one", refusing(), func(p *Policy, _ *Situation) { p.Step = 0.5 }, ReasonNoPressure, false, 0, 0},
	} {
		t.Run(c.name, c.run)
	}
}

func TestDecideGuards(t *testing.T) {
	hold := &Hold{Since: noon.Add(-time.Minute), By: "maria"}
	for _, c := range []decideCase{
		{"a reading just young enough", refusing(), func(_ *Policy, s *Situation) {
			s.Ask.Reading.At = noon.Add(-time.Second + 1)
		}, ReasonFull, true, 131072, 0},
		{"a reading one second old", refusing(), func(_ *Policy, s *Situation) { s.Ask.Reading.At = noon.Add(-time.Second) }, ReasonUnverified, false, 131072, 0},
		{"a reading of the future", refusing(), func(_ *Policy, s *Situation) { s.Ask.Reading.At = noon.Add(1) }, ReasonUnverified, false, 131072, 0},
		{"no reading", refusing(), func(_ *Policy, s *Situation) { s.Ask.Reading.At = time.Time{} }, ReasonUnverified, false, 131072, 0},
		{"a blind reading", refusing(), func(_ *Policy, s *Situation) { s.Ask.Reading.Blind = true }, ReasonUnverified, false, 131072, 0},
		{"blind pressure", filling(), func(_ *Policy, s *Situation) { s.Ask.Reading.Blind = true }, ReasonUnverified, false, 131072, 0},
		{"full without counters", refusing(), func(_ *Policy, s *Situation) { s.Ask.Reading.CountersOK = false }, ReasonUnverified, false, 131072, 0},
		{"full without a refusal", refusing(), func(_ *Policy, s *Situation) { s.Ask.Refused = 0 }, ReasonUnverified, false, 131072, 0},
		{"refusals at 96.9%", refusing(), func(_ *Policy, s *Situation) { s.Ask.Reading.Count = 63569 }, ReasonUnverified, false, 131072, 0},
		{"refusals at 97%", refusing(), func(_ *Policy, s *Situation) { s.Ask.Reading.Count = 63570 }, ReasonFull, true, 131072, 0},
		{"refusals under a limit that was raised since", refusing(), func(_ *Policy, s *Situation) { s.Limits.Max = 131072 }, ReasonUnverified, false, 262144, 0},

		{"observe", refusing(), func(p *Policy, _ *Situation) { p.Mode = ModeObserve }, ReasonObserveMode, false, 131072, 0},
		{"no mode at all", refusing(), func(p *Policy, _ *Situation) { p.Mode = "" }, ReasonObserveMode, false, 131072, 0},
		{"by hand while observing", asked(ReasonManual, 90000), func(p *Policy, _ *Situation) { p.Mode = ModeObserve }, ReasonManual, true, 90000, 0},
		{"at boot while observing", asked(ReasonBoot, 90000), func(p *Policy, _ *Situation) { p.Mode = ModeObserve }, ReasonObserveMode, false, 90000, 0},

		{"held", refusing(), func(_ *Policy, s *Situation) { s.Held = hold }, ReasonHeld, false, 131072, 0},
		{"held until later", refusing(), func(_ *Policy, s *Situation) { s.Held = &Hold{Until: noon.Add(1)} }, ReasonHeld, false, 131072, 0},
		{"a hold that is over", refusing(), func(_ *Policy, s *Situation) { s.Held = &Hold{Until: noon} }, ReasonFull, true, 131072, 0},
		{"by hand while held", asked(ReasonManual, 90000), func(_ *Policy, s *Situation) { s.Held = hold }, ReasonManual, true, 90000, 0},
		{"at boot while held", asked(ReasonBoot, 90000), func(_ *Policy, s *Situation) { s.Held = hold }, ReasonHeld, false, 90000, 0},

		{"a limit that cannot be written", refusing(), func(_ *Policy, s *Situation) { s.Limits.Writable = false }, ReasonReadOnly, false, 131072, 0},
		{"by hand where it cannot be written", asked(ReasonManual, 90000), func(_ *Policy, s *Situation) { s.Limits.Writable = false }, ReasonReadOnly, false, 90000, 0},

		{"somebody else's change", refusing(), func(_ *Policy, s *Situation) { s.ForeignAt = noon.Add(-10*time.Minute + 1) }, ReasonForeignChange, false, 131072, 0},
		{"somebody else's change long ago", refusing(), func(_ *Policy, s *Situation) { s.ForeignAt = noon.Add(-10 * time.Minute) }, ReasonFull, true, 131072, 0},
		{"somebody else's change before the clock was set back a little", refusing(), func(_ *Policy, s *Situation) { s.ForeignAt = noon.Add(time.Minute) }, ReasonForeignChange, false, 131072, 0},
		{"somebody else's change before the clock was set back a year", refusing(), func(_ *Policy, s *Situation) { s.ForeignAt = noon.AddDate(1, 0, 0) }, ReasonFull, true, 131072, 0},
		{"by hand after somebody else", asked(ReasonManual, 90000), func(_ *Policy, s *Situation) { s.ForeignAt = noon }, ReasonManual, true, 90000, 0},

		{"flood", refusing(), func(_ *Policy, s *Situation) { s.Flood = true }, ReasonFlood, false, 131072, 0},
		{"flood that may raise", refusing(), func(p *Policy, s *Situation) { p.RaiseOnFlood, s.Flood = true, true }, ReasonFull, true, 131072, 0},
		{"by hand in a flood", asked(ReasonManual, 90000), func(_ *Policy, s *Situation) { s.Flood = true }, ReasonManual, true, 90000, 0},

		{"cooldown", refusing(), func(p *Policy, s *Situation) { p.Cooldown, s.Ask.LastStep = 3*time.Second, noon.Add(-3*time.Second+1) }, ReasonCooldown, false, 131072, 0},
		{"cooldown over", refusing(), func(p *Policy, s *Situation) { p.Cooldown, s.Ask.LastStep = 3*time.Second, noon.Add(-3*time.Second) }, ReasonFull, true, 131072, 0},
		{"by hand in the cooldown", asked(ReasonManual, 90000), func(p *Policy, s *Situation) { p.Cooldown, s.Ask.LastStep = time.Hour, noon }, ReasonManual, true, 90000, 0},

		{"budget used up", refusing(), func(p *Policy, s *Situation) { p.StepsPerHour, s.StepTimes = 2, stepsAgo(59*time.Minute, time.Second) }, ReasonBudget, false, 131072, 0},
		{"budget free again", refusing(), func(p *Policy, s *Situation) { p.StepsPerHour, s.StepTimes = 2, stepsAgo(time.Hour, time.Second) }, ReasonFull, true, 131072, 0},
		{"no budget", refusing(), func(p *Policy, _ *Situation) { p.StepsPerHour = 0 }, ReasonBudget, false, 131072, 0},
		{"budget of a clock set back", refusing(), func(p *Policy, s *Situation) { p.StepsPerHour, s.StepTimes = 1, stepsAgo(-2*time.Hour) }, ReasonFull, true, 131072, 0},
		{"by hand without a budget", asked(ReasonManual, 90000), func(p *Policy, _ *Situation) { p.StepsPerHour = 0 }, ReasonManual, true, 90000, 0},

		{"a ceiling cuts", refusing(), func(p *Policy, _ *Situation) { p.Ceiling = 100000 }, ReasonFull, true, 100000, 0},
		{"at the ceiling", refusing(), func(p *Policy, _ *Situation) { p.Ceiling = 65536 }, ReasonAtCeiling, false, 65536, 0},
		{"found above the ceiling", refusing(), func(p *Policy, _ *Situation) { p.Ceiling = 50000 }, ReasonAtCeiling, false, 65536, 0},
		{"by hand above the ceiling", asked(ReasonManual, 524289), func(_ *Policy, s *Situation) { s.Limits.Buckets = 131072 }, ReasonAtCeiling, false, 524288, 0},
		{"by hand to the ceiling", asked(ReasonManual, 524288), func(_ *Policy, s *Situation) { s.Limits.Buckets = 131072 }, ReasonManual, true, 524288, 0},
		{"at boot above a ceiling lowered meanwhile", asked(ReasonBoot, 200000), func(p *Policy, _ *Situation) { p.Ceiling = 110000 }, ReasonBoot, true, 110000, 0},
		{"a ceiling above INT_MAX", asked(ReasonManual, math.MaxUint64), func(p *Policy, s *Situation) { p.Ceiling = math.MaxUint64; s.Chains = ChainsFree }, ReasonMemory, false, math.MaxInt32, 0},
		{"a limit above INT_MAX", refusing(), func(p *Policy, s *Situation) {
			p.Ceiling, s.Limits.Max, s.Ask.Reading.Count = 1<<40, 1<<32-1, 1<<32-1
		}, ReasonNoPressure, false, 0, 0},
	} {
		t.Run(c.name, c.run)
	}
}

func stepsAgo(ages ...time.Duration) []time.Time {
	var at []time.Time
	for _, age := range ages {
		at = append(at, noon.Add(-age))
	}
	return at
}

// TestDecideOrder lets everything object at once, then takes away one objection after the other: the reasons must come
// in the order of the guards.
func TestDecideOrder(t *testing.T) {
	p, s := allowed(), refusing()
	p.Mode, p.StepsPerHour, p.Cooldown, p.Ceiling = ModeObserve, 0, time.Minute, 65536
	p.MemoryShare, p.Buckets = 0, BucketsKeep
	s.Ask.Reading.Blind, s.Held, s.Limits.Writable, s.ForeignAt, s.Flood = true, &Hold{}, false, noon, true
	s.Ask.LastStep, s.Limits.Buckets = noon, 8192
	for _, step := range []struct {
		reason Reason
		lift   func()
	}{
		{ReasonUnverified, func() { s.Ask.Reading.Blind = false }},
		{ReasonObserveMode, func() { p.Mode = ModeRemediate }},
		{ReasonHeld, func() { s.Held = nil }},
		{ReasonReadOnly, func() { s.Limits.Writable = true }},
		{ReasonForeignChange, func() { s.ForeignAt = time.Time{} }},
		{ReasonFlood, func() { s.Flood = false }},
		{ReasonCooldown, func() { p.Cooldown = 0 }},
		{ReasonBudget, func() { p.StepsPerHour = 1 }},
		{ReasonAtCeiling, func() { p.Ceiling = 524288 }},
		{ReasonMemory, func() { p.MemoryShare = 0.05 }},
		{ReasonChainLimit, func() { p.Buckets = BucketsPresize }},
	} {
		if d := Decide(p, s); d.Do || d.Reason != step.reason {
			t.Fatalf("Decide = do %v, %s; want %s", d.Do, d.Reason, step.reason)
		}
		step.lift()
	}
	if d := Decide(p, s); !d.Do || d.To != 131072 || d.Buckets != 131072 {
		t.Errorf("with nothing left to object: %+v", d)
	}
}

// TestDecideFoundingCase is the host that the project began with: 48 GB, 65,536 entries on 16,384 buckets, refusing
// all day. It must come to 524,288 in three steps, with one resize of the hash.
func TestDecideFoundingCase(t *testing.T) {
	p, s := allowed(), refusing()
	var limits, resized []uint64
	for range 4 {
		d := Decide(p, s)
		if !d.Do {
			if d.Reason != ReasonAtCeiling {
				t.Fatalf("stopped at %d by %s", s.Limits.Max, d.Reason)
			}
			break
		}
		if d.Buckets > 0 {
			resized, s.Ask.Resized, s.Limits.Buckets = append(resized, d.Buckets), true, d.Buckets
		}
		limits = append(limits, d.To)
		s.Limits.Max, s.Limits.OldMax, s.Ask.Reading.Max = d.To, d.To, d.To
		s.Ask.Reading.Count, s.Entries = d.To, d.To
		s.StepTimes = append(s.StepTimes, s.Now)
	}
	if len(limits) != 3 || limits[0] != 131072 || limits[1] != 262144 || limits[2] != 524288 {
		t.Errorf("limits %v; want 131072, 262144, 524288", limits)
	}
	if len(resized) != 1 || resized[0] != 131072 {
		t.Errorf("resized to %v; want 131072 once", resized)
	}
}
