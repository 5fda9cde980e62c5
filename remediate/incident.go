package remediate

import (
	"fmt"
	"time"
)

// Severity is how bad an incident is now. It never falls while the incident is open.
type Severity string

// The two severities.
const (
	SeverityWarning  Severity = "warning"  // the table is filling
	SeverityCritical Severity = "critical" // connections are refused or thrown out
)

// Outcome is what became of the last step of an incident.
type Outcome string

// The outcomes. The empty outcome says that no step was taken or that it is too early to tell.
const (
	OutcomeEffective   Outcome = "effective"   // two seconds without a refusal
	OutcomeIneffective Outcome = "ineffective" // still refusing although there is room
)

// Incident is one episode in one namespace: from the first sign of trouble to the end of the quiet time after the
// last one. It is the data of the incident events, so its JSON names are part of the contract.
type Incident struct {
	ID       string   `json:"incident_id"`
	Severity Severity `json:"severity"`
	// Verified is true once the kernel's counters bore it out.
	Verified bool   `json:"verified"`
	BootID   string `json:"boot_id,omitempty"`
	// Host is the name that the records carry; it is set only where records of several hosts are read.
	Host     string     `json:"host,omitempty"`
	NetNS    NetNS      `json:"netns"`
	OpenedAt time.Time  `json:"opened_at"`
	ClosedAt *time.Time `json:"closed_at,omitempty"`
	// Matches is the largest count of any one stream, since the same record usually stands in several.
	Matches int `json:"matches"`
	// Suppressed is the largest count of suppressed messages that any one stream told of: an upper bound.
	Suppressed int `json:"suppressed"`
	// PerSource counts the matches of each stream (Match.Key).
	PerSource map[string]int `json:"per_source,omitempty"`
	// Drops and EarlyDrops are the growth of the counters since the last reading before the incident.
	Drops      uint64 `json:"drops"`
	EarlyDrops uint64 `json:"early_drops"`
	// RefusedInPause is how many of both fell while automatic steps kept still on account of somebody else's change.
	RefusedInPause uint64 `json:"refused_in_pause,omitempty"`
	// ChainDrops and InsertFailed are the same of entries that were refused on a hash chain too long, and of those that
	// lost a race for their place, which happens on a healthy host too.
	ChainDrops   uint64 `json:"chain_drops,omitempty"`
	InsertFailed uint64 `json:"insert_failed,omitempty"`
	// Count, Max and Buckets are as last read; PeakCount is the highest count of the incident.
	Count     uint64 `json:"count"`
	PeakCount uint64 `json:"peak_count"`
	Max       uint64 `json:"max"`
	Buckets   uint64 `json:"buckets"`
	// InsertRate is the highest net growth of the table in entries per second; 0 where it was not measured.
	InsertRate float64 `json:"insert_rate"`
	// TimeToFull is the time to a full table at the present growth, in seconds; absent where it does not grow.
	TimeToFull *float64 `json:"time_to_full_s,omitempty"`
	// Confidence says how well that is founded: the part of the way from where the rise of the last one or two horizons
	// began to the limit that lies behind, 0 to 1.
	Confidence float64 `json:"confidence,omitempty"`
	// Top and Verdict say who fills the table, where it is known.
	Top     []Talker `json:"top,omitempty"`
	Verdict string   `json:"verdict,omitempty"`
	Outcome Outcome  `json:"outcome,omitempty"`
	// Historical is true for an incident found in old records: never paged, never acted on.
	Historical bool `json:"historical"`
	// LimitHitBy lists all namespaces that are at the one global limit, when there is more than one.
	LimitHitBy []NetNS `json:"limit_hit_by,omitempty"`
}

// Seen tells whether the table was read at all. Of one that was not, only the kernel's lines are known.
func (i Incident) Seen() bool { return i.Max > 0 }

// Use says for a person how full the table was when it was last read.
func (i Incident) Use() string {
	if !i.Seen() {
		return "its table cannot be seen"
	}
	return fmt.Sprintf("%d of %d in use", i.Count, i.Max)
}

// Talker is one party that holds entries.
type Talker struct {
	Address string `json:"address"`
	Entries uint64 `json:"entries"`
}
