package web

import (
	"encoding/json"
	"time"

	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/remediate"
)

// Row is one host in the grid.
type Row struct {
	Site    string         `json:"site"`
	Host    string         `json:"host"`
	Version string         `json:"version,omitempty"`
	Mode    remediate.Mode `json:"mode,omitempty"`
	// Labels are "name=value" in a fixed order. The slice is kept, and must not change.
	Labels []string `json:"labels,omitempty"`
	// Count and Max are the entries in the table and their limit; both 0 where no table was seen.
	Count uint64 `json:"count"`
	Max   uint64 `json:"max"`
	// Refused is how many connections were refused and thrown out since the host's agent started.
	Refused uint64 `json:"refused"`
	// Seen is when the host's state last arrived; zero: never.
	Seen time.Time `json:"seen,omitzero"`
	// Severity is that of the host's gravest open incident; empty: none is open.
	Severity remediate.Severity `json:"severity,omitempty"`
	// Silent hosts have not been heard of for too long; Stopped ones said so before.
	Silent  bool `json:"silent,omitempty"`
	Stopped bool `json:"stopped,omitempty"`
	// Held hosts take no automatic step, by an order of their own or of the fleet.
	Held bool `json:"held,omitempty"`
	// Gone takes the host off the board.
	Gone bool `json:"-"`
}

// HostDetail is all that is known of one host.
type HostDetail struct {
	Row
	// Status is the agent's own status as it last sent it, the document of "ctwarden status -o json"; nil: it has expired.
	Status json.RawMessage `json:"status,omitempty"`
	// Points are the last hour and a half, oldest first.
	Points []Point `json:"points"`
	// Steps are the changes of the limit of that time, oldest first.
	Steps []StepPoint `json:"steps"`
	// Incidents are the host's own, newest first.
	Incidents []fleet.HostIncident `json:"incidents"`
	// Hold is the fleet's order that holds this host; nil: there is none.
	Hold *Hold `json:"fleet_hold,omitempty"`
}

// Point is one host's table at one time.
type Point struct {
	At    time.Time `json:"at"`
	Count uint64    `json:"count"`
	Max   uint64    `json:"max"`
	// Refused is how many were refused and thrown out since the point before.
	Refused uint64 `json:"refused"`
}

// StepPoint is a change of the limit.
type StepPoint struct {
	At     time.Time        `json:"at"`
	From   uint64           `json:"from"`
	To     uint64           `json:"to"`
	Reason remediate.Reason `json:"reason"`
	// Result is applied, confirmed, refused, failed or reverted.
	Result string `json:"result"`
}

// HostRef names a host.
type HostRef struct {
	Site string `json:"site"`
	Host string `json:"host"`
}
