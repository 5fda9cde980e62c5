package remediate

import "time"

// EventType is the last part of an event's subject and, behind "io.ctwarden.", its CloudEvents type.
type EventType string

// The events.
const (
	EventIncidentOpened  EventType = "incident.opened"
	EventIncidentUpdated EventType = "incident.updated"
	EventIncidentClosed  EventType = "incident.closed"
	EventStepApplied     EventType = "step.applied"
	EventStepConfirmed   EventType = "step.confirmed"
	EventStepRefused     EventType = "step.refused"
	EventStepFailed      EventType = "step.failed"
	EventStepReverted    EventType = "step.reverted"
	EventMatchUnverified EventType = "match.unverified"
	EventSourceDegraded  EventType = "source.degraded"
	EventSourceRecovered EventType = "source.recovered"
	EventLimitChanged    EventType = "limit.changed"
	EventAgentStarted    EventType = "agent.started"
	EventAgentStopped    EventType = "agent.stopped"
)

// Event is one thing that happened, as it is published. Its Data is one of [Incident], [Step], [Unverified],
// [SourceState], [LimitChange] and [AgentState], by value.
type Event struct {
	// ID is unique over all hosts and boots and stays the same over every retry and restart.
	ID   string
	Type EventType
	Time time.Time
	Data any
}

// Step is one change of the limit: done, refused, failed or undone. It is the data of the step events, so its JSON
// names are part of the contract.
type Step struct {
	// ID names the step in the journal of steps.
	ID string `json:"step_id,omitempty"`
	// IncidentID is empty for a step by hand, at boot or by decay.
	IncidentID string    `json:"incident_id,omitempty"`
	At         time.Time `json:"at"`
	// From and To are the limit before and after, in entries. In a refused step, To is what it would have been; 0
	// where nothing could be worked out.
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	Ceiling uint64 `json:"ceiling"`
	Reason  Reason `json:"reason"`
	// Trigger says what asked for the step, where Reason says why it was refused.
	Trigger Reason `json:"trigger,omitempty"`
	// Keys holds each setting as read back after the write.
	Keys map[string]uint64 `json:"keys,omitempty"`
	// TookUS is how long the writes took, in microseconds.
	TookUS  int64   `json:"took_us"`
	Mode    Mode    `json:"mode"`
	NetNS   NetNS   `json:"netns"`
	Outcome Outcome `json:"outcome,omitempty"`
	// Persisted is the file that makes the limit last; empty where it was not written.
	Persisted string `json:"persisted,omitempty"`
	// Error says what went wrong and what to do, for a failed or undone step, a limit that could not be persisted, or a
	// step that somebody else's change or the fleet's hold keeps from being taken.
	Error string `json:"error,omitempty"`
}

// Unverified is the data of match.unverified: lines that the kernel's counters do not bear out.
type Unverified struct {
	// Count is the number of such lines since the last event of this kind; First and Last their times.
	Count     int            `json:"count"`
	First     time.Time      `json:"first"`
	Last      time.Time      `json:"last"`
	PerSource map[string]int `json:"per_source"`
	// Text is the first of these lines without its envelope.
	Text string `json:"text"`
	// NetNS is the inode that the first line names; 0 where it names none.
	NetNS uint64 `json:"netns_inode,omitempty"`
}

// SourceState is the data of source.degraded and source.recovered.
type SourceState struct {
	Source Source `json:"source"`
	Path   string `json:"path,omitempty"`
	// Lost is the number of records lost since the last event of this kind. Zero: none, or their number is unknown.
	Lost uint64 `json:"lost"`
	// Problem says what is wrong, Remedy what to do about it.
	Problem string `json:"problem,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

// LimitChange is the data of limit.changed: somebody else wrote the limit.
type LimitChange struct {
	Old uint64 `json:"old"`
	New uint64 `json:"new"`
	// By names who may have written it, where that can be told: a file with its line, a program.
	By string `json:"by,omitempty"`
	// ByKind says what sort of writer it is.
	ByKind WriterKind `json:"by_kind,omitempty"`
	// Times is how often somebody else has set this very value in this boot, as far as is remembered.
	Times int `json:"times,omitempty"`
}

// AgentState is the data of agent.started and agent.stopped.
type AgentState struct {
	Version string   `json:"version"`
	Kernel  string   `json:"kernel"`
	BootID  string   `json:"boot_id"`
	Mode    Mode     `json:"mode"`
	Sources []Source `json:"sources"`
	// Notes says what the start had to mend: an unfinished step, a damaged state file.
	Notes []string `json:"notes,omitempty"`
}
