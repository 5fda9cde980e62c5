package remediate

import "time"

// Situation is all that [Decide] may know, as it is at Now.
type Situation struct {
	Now time.Time
	Ask Ask
	// Limits are as read just before; Limits.Max is what a step starts from.
	Limits Limits
	Memory Memory
	// Chains says on how long a hash chain this kernel refuses an insert.
	Chains Chains
	// Entries is the number of entries of all namespaces together that can be seen.
	Entries uint64
	// Fullest is the most entries of any one of them. It is looked at for the hash alone.
	Fullest uint64
	// Hidden is how many entries there are besides, in namespaces that cannot be seen: a resize moves them too. It is zero
	// unless a resize is considered.
	Hidden uint64
	// OtherPeaks has the highest count of late of each namespace other than the one that asks; see [Tracker.Peaks].
	OtherPeaks []uint64
	// Held is the operator's hold; nil: none.
	Held *Hold
	// Flood is true where the table is known to be filled by a flood.
	Flood bool
	// ForeignAt is when somebody else lowered the limit, for which automatic steps pause; zero: nobody did, or it is undone.
	ForeignAt time.Time
	// Foreign is what it means for a step that somebody else has set the limit.
	Foreign Foreign
	// StepTimes are the times of the automatic steps of the last hour or longer, in any order.
	StepTimes []time.Time
	// StallPerEntry is what a resize of the hash costs an entry here, from [LearnedStall]; zero: not known yet.
	StallPerEntry time.Duration
	// Refusing is true while connections are refused in any namespace, or were until a short while ago.
	Refusing bool
	// HashSet is the largest hash that ctwarden asked the kernel for in this boot, in buckets; zero: it did not.
	HashSet uint64
	// ResizeFailedAt is when a resize of the hash last failed; zero: never.
	ResizeFailedAt time.Time
}

// moved is how many entries a resize of the hash has to move.
func (s Situation) moved() uint64 { return s.Entries + s.Hidden }

// Ask is a request for a step: who asks, and on what evidence.
type Ask struct {
	// Reason is full, pressure, forecast, manual or boot. Empty: nothing asks.
	Reason     Reason
	IncidentID string
	// Reading is the newest one of the namespace that asks. Unused by hand and at boot.
	Reading Reading
	// Refused is by how much the counters of refusals rose when they last did at a full table, which is less than a
	// second ago.
	Refused uint64
	// TimeToFull is how long the table lasts at its present growth; zero: it does not grow.
	TimeToFull time.Duration
	// Confidence says how well that is founded, 0 to 1; see [FoundedForecast].
	Confidence float64
	// Risen is the same of the whole rise, however slow it was.
	Risen float64
	// Surge is how many entries may come within [StepLead] at the fastest growth seen just now.
	Surge float64
	// To is the limit asked for by hand or at boot.
	To uint64
	// Demand is how many entries the forecast asks for; zero: unknown.
	Demand uint64
	// LastStep is when the incident's last step was taken; zero: none yet.
	LastStep time.Time
	// Ineffective is true once a step of this incident did not help: the limit is not the cause.
	Ineffective bool
	// Resized is true once the hash was resized under load in this incident.
	Resized bool
}

// automatic tells whether nobody asked for the step but ctwarden itself.
func (a Ask) automatic() bool { return a.Reason != ReasonManual }

// named tells whether the step has a target of its own: it is met or refused, never made smaller. Only the ceiling may
// cut what a boot asks for, since the operator has lowered it meanwhile.
func (a Ask) named() bool { return a.Reason == ReasonManual || a.Reason == ReasonBoot }
