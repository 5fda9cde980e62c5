package agent

import (
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// Status is what "ctwarden status -o json" prints. Its JSON names are part of the contract.
type Status struct {
	// Running is false when no agent answered and only the kernel part was filled in.
	Running bool   `json:"running"`
	Version string `json:"version"`
	Host    string `json:"host"`
	Site    string `json:"site,omitempty"`
	// Mode is the one in force: observe also where the configuration says remediate and leaves it to the fleet, which has
	// not said so (Fleet).
	Mode      remediate.Mode `json:"mode,omitempty"`
	Kernel    string         `json:"kernel"`
	BootID    string         `json:"boot_id"`
	StartedAt time.Time      `json:"started_at,omitzero"`
	At        time.Time      `json:"at"`
	// Held is the host's own hold, Fleet.Hold the fleet's. Either holds.
	Held *remediate.Hold `json:"held,omitempty"`
	// Fleet is what was heard of the fleet; nil on a host that has nothing to do with one.
	Fleet  *notify.FleetState `json:"fleet,omitempty"`
	Limits remediate.Limits   `json:"limits"`
	// Hash is nil where there is no table.
	Hash   *HashStatus  `json:"hash,omitempty"`
	Memory MemoryStatus `json:"memory"`
	// NetNS has the first namespace first, then the others by falling count. In the fleet's bucket these are the busiest
	// 100 only; NetNSTotal is the number of all.
	NetNS      []NetNSStatus        `json:"netns"`
	NetNSTotal int                  `json:"netns_total"`
	Sources    []SourceStatus       `json:"sources"`
	Incidents  []remediate.Incident `json:"incidents"`
	// Steps are the last ones, newest first.
	Steps  []remediate.Step `json:"steps"`
	State  StateStatus      `json:"state"`
	Outbox OutboxStatus     `json:"outbox"`
	NATS   NATSStatus       `json:"nats"`
	// Oncall are the senders that this host uses itself, without a hub.
	Oncall []oncall.Status `json:"oncall,omitempty"`
	// Foreign is somebody else's change of the limit, while automatic steps keep still on account of it.
	Foreign *remediate.ForeignStatus `json:"foreign,omitempty"`
	// Totals since the agent's start.
	IncidentsTotal uint64 `json:"incidents_total"`
	// RefusedInPause is what was refused and thrown out while automatic steps kept still on account of such a change.
	RefusedInPause uint64      `json:"refused_in_pause_total"`
	StepsTotal     []StepTotal `json:"steps_total,omitempty"`
	// Notes are problems that an operator should know of, each with its remedy.
	Notes []string `json:"notes,omitempty"`
}

// HashStatus is how the kernel's hash stands to the ceiling; its size is in Limits.
type HashStatus struct {
	// Wanted is the number of buckets that the ceiling needs.
	Wanted uint64 `json:"wanted"`
	// StallUS is for how long a resize would stop all packets now, in microseconds, as predicted from the entries of all
	// namespaces at StallPerEntryNS each. The latter was learned from that many resizes on this machine; 0: it is the
	// usual one.
	StallUS int64 `json:"predicted_stall_us"`
	// AtLeast is true where namespaces that cannot be seen may have more entries, which nobody has counted.
	AtLeast         bool  `json:"predicted_stall_at_least,omitempty"`
	StallPerEntryNS int64 `json:"stall_per_entry_ns"`
	Learned         int   `json:"learned_from"`
	// Reason is the word for why the hash is not sized for the ceiling now, Text says it for a person; both are empty where
	// it is about to be, and where no agent answered.
	Reason remediate.HashReason `json:"reason,omitempty"`
	Text   string               `json:"text,omitempty"`
	// Last is the last resize by ctwarden; nil: none is known.
	Last *remediate.Resize `json:"last,omitempty"`
}

// HashStatusOf is the status as far as a decision tells it.
func HashStatusOf(d remediate.Presizing, perEntry time.Duration) HashStatus {
	return HashStatus{
		Wanted: d.Buckets, StallUS: d.Stall.Microseconds(), StallPerEntryNS: perEntry.Nanoseconds(),
		Reason: d.Reason, Text: d.Text(),
	}
}

// MemoryStatus is what the table costs.
type MemoryStatus struct {
	remediate.Memory
	// TableBytes is what the entries of now cost, WorstBytes what they can cost at the limit.
	TableBytes uint64 `json:"table_bytes"`
	WorstBytes uint64 `json:"worst_bytes"`
}

// NetNSStatus is one namespace as last read.
type NetNSStatus struct {
	remediate.NetNS
	Count      uint64             `json:"count"`
	Peak       uint64             `json:"peak"`
	Counters   remediate.Counters `json:"counters"`
	Blind      bool               `json:"blind,omitempty"`
	InsertRate float64            `json:"insert_rate"`
	TimeToFull *float64           `json:"time_to_full_s,omitempty"`
}

// SourceStatus is one stream of records.
type SourceStatus struct {
	Source remediate.Source `json:"source"`
	Path   string           `json:"path,omitempty"`
	Up     bool             `json:"up"`
	// Unused is true for a source that nobody insists on and that was not there since the start.
	Unused   bool   `json:"unused,omitempty"`
	CaughtUp bool   `json:"caught_up"`
	Problem  string `json:"problem,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
	// Fault is what is wrong with a source that can be read: "stuck" where its reader gives no sign of life, "behind"
	// where the kernel has printed what did not come through it, "late" where more comes than is read.
	Fault      string    `json:"fault,omitempty"`
	Records    uint64    `json:"records"`
	Matches    uint64    `json:"matches"`
	Lost       uint64    `json:"lost"`
	LastRecord time.Time `json:"last_record,omitzero"`
	// LagSeconds is how late the last record was read, or for how long a fault has lasted.
	LagSeconds float64 `json:"lag_seconds"`
}

// StateStatus tells whether the state file takes what is to survive a restart.
type StateStatus struct {
	Saved bool `json:"saved"`
	// Problem says why it does not, and Since since when.
	Problem string    `json:"problem,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// OutboxStatus is the queue of events not yet acknowledged by NATS.
type OutboxStatus struct {
	Enabled bool   `json:"enabled"`
	Events  int    `json:"events"`
	Max     int    `json:"max"`
	Dropped uint64 `json:"dropped"`
	// Unsaved counts the events that wait in memory because the disk does not take them. They are in Events too.
	Unsaved int `json:"unsaved"`
	// JournalDropped counts the events that the host's journal did not take in time. NATS may have them.
	JournalDropped uint64 `json:"journal_dropped,omitempty"`
}

// NATSStatus is the connection to NATS.
type NATSStatus struct {
	Configured bool      `json:"configured"`
	Connected  bool      `json:"connected"`
	Server     string    `json:"server,omitempty"`
	Since      time.Time `json:"since,omitzero"`
	// Problem is the fixed word for why something does not get through, Error says it in full.
	Problem notify.Problem `json:"problem,omitempty"`
	Error   string         `json:"error,omitempty"`
}

// StepTotal counts steps by result (applied, confirmed, refused, failed, reverted) and reason.
type StepTotal struct {
	Result string           `json:"result"`
	Reason remediate.Reason `json:"reason"`
	Count  uint64           `json:"count"`
}
