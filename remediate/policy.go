package remediate

import "time"

// Mode says whether the agent may write to the kernel.
type Mode string

// The modes.
const (
	ModeObserve   Mode = "observe"   // detect, explain, publish
	ModeRemediate Mode = "remediate" // also raise the limit
)

// BucketsMode says whether the hash may be resized.
type BucketsMode string

// The modes of the hash.
const (
	BucketsPresize BucketsMode = "presize" // sized for the ceiling when it is quiet
	BucketsKeep    BucketsMode = "keep"    // never touched
)

// Policy is what the operator allows. It is the configuration's section remediate and the mode.
type Policy struct {
	Mode Mode
	// Pressure is the share of the limit from which a table counts as filling; Horizon is how far ahead a full table
	// is foreseen.
	Pressure float64
	Horizon  time.Duration
	// Ceiling is the highest limit ever written, in entries.
	Ceiling uint64
	// Step is the factor of one step, MaxStep the largest that demand may ask for; both above 1.
	Step    float64
	MaxStep float64
	// MaxInsertRate is the number of new connections per second up to which nothing may be refused, in a table that they
	// take some readings of [MinPeriod] to fill.
	MaxInsertRate float64
	// MemoryShare is the share of RAM that the table may take in its worst case.
	MemoryShare float64
	// Cooldown is the least time between two steps of one incident.
	Cooldown     time.Duration
	StepsPerHour int
	Buckets      BucketsMode
	// MaxStall is the longest predicted stall of a resize while packets are refused.
	MaxStall time.Duration
	// RaiseOnFlood allows a step although a flood fills the table.
	RaiseOnFlood bool
	// ForeignPause is how long automatic steps pause after somebody else lowered the limit; 0: what others set makes no
	// difference, not even a limit that is set back again and again.
	ForeignPause time.Duration
	// Decay is how long the table must stay below a quarter of the limit before it is stepped back; 0: never.
	Decay time.Duration
	// Persist allows writing the sysctl.d file after a step helped.
	Persist bool
}

// DefaultPolicy is the policy of an empty configuration.
func DefaultPolicy() Policy {
	return Policy{
		Mode: ModeObserve, Pressure: 0.90, Horizon: time.Minute, Ceiling: 524288, Step: 2, MaxStep: 4, MaxInsertRate: 200000, MemoryShare: 0.05,
		StepsPerHour: 12, Buckets: BucketsPresize, MaxStall: 100 * time.Millisecond,
		ForeignPause: 10 * time.Minute, Persist: true,
	}
}

// Decision is what [Decide] wants done, and why. It is either a step (Do is true: write To, resizing the hash to
// Buckets first where that is not 0) or none, with the reason.
type Decision struct {
	Do bool
	// From is the limit that the decision rests on: a different one read before the write calls it off.
	From uint64
	// To is the new limit. In a decision not to step it is what the step would have been, or 0.
	To uint64
	// Buckets is the hash size to set before the limit; 0: leave it.
	Buckets uint64
	Reason  Reason
	// Trigger is what asked, where Reason says why not.
	Trigger Reason
	// IncidentID is the incident that asked; empty by hand and at boot.
	IncidentID string
	NetNS      NetNS
	// Held is the fleet's hold where that is the reason; nil otherwise, also where a hold of the host's own is.
	Held *Hold
}
