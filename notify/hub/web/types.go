package web

import (
	"encoding/json"
	"time"

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
	Incidents []HostIncident `json:"incidents"`
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

// HostIncident is an incident of one host.
type HostIncident struct {
	remediate.Incident
	// Fleet is the fleet's incident that it belongs to; empty: to none.
	Fleet string `json:"fleet_incident,omitempty"`
}

// HostRef names a host.
type HostRef struct {
	Site string `json:"site"`
	Host string `json:"host"`
}

// Incident is one of the fleet: one trouble, on one host or many.
type Incident struct {
	ID string `json:"id"`
	// Kind is "conntrack" or "silent".
	Kind     string             `json:"kind"`
	Cause    string             `json:"cause"`
	Title    string             `json:"title"`
	Severity remediate.Severity `json:"severity"`
	Verified bool               `json:"verified"`
	// Historical incidents were found in old records, and page nobody.
	Historical bool      `json:"historical,omitempty"`
	OpenedAt   time.Time `json:"opened_at"`
	ChangedAt  time.Time `json:"changed_at"`
	// ClosedAt is zero while it is open.
	ClosedAt time.Time `json:"closed_at,omitzero"`
	// Hosts are all that were concerned, OpenHosts those that still are, Incidents those of the hosts.
	Hosts     int `json:"hosts"`
	OpenHosts int `json:"open_hosts"`
	Incidents int `json:"incidents"`
	// By is what it was grouped by, such as site: gva.
	By map[string]string `json:"by,omitempty"`
	// Talker is the source address that the hosts have in common; empty: none.
	Talker string `json:"talker,omitempty"`
	// Sites has the number of hosts of each site.
	Sites  map[string]int `json:"sites"`
	Sample []HostRef      `json:"sample"`
	// Refused are connections refused, ThrownOut such that were dropped from the table to make room.
	Refused   uint64             `json:"refused"`
	ThrownOut uint64             `json:"thrown_out"`
	Steps     StepSummary        `json:"steps"`
	Top       []remediate.Talker `json:"top,omitempty"`
	Verdict   string             `json:"verdict,omitempty"`
	// AckBy acknowledged it; empty: nobody did.
	AckBy string    `json:"acknowledged_by,omitempty"`
	AckAt time.Time `json:"acknowledged_at,omitzero"`
	// Silence is the id of what keeps it quiet; empty: nothing.
	Silence string `json:"silence,omitempty"`
	// Escalated is how many stages it has been escalated by.
	Escalated int    `json:"escalated,omitempty"`
	Pages     []Page `json:"pages"`
	// Timeline is what happened, oldest first. It is left out of lists.
	Timeline []Entry `json:"timeline,omitempty"`
}

// StepSummary counts what ctwarden did about an incident.
type StepSummary struct {
	Applied     int `json:"applied"`
	Confirmed   int `json:"confirmed"`
	Ineffective int `json:"ineffective"`
	Refused     int `json:"refused"`
	Failed      int `json:"failed"`
	Reverted    int `json:"reverted"`
}

// Page is one message to one sender.
type Page struct {
	ID     string `json:"id"`
	Sender string `json:"sender"`
	// Action is trigger, update, acknowledge or resolve; State is due, delivered or dead.
	Action   string    `json:"action"`
	State    string    `json:"state"`
	At       time.Time `json:"at"`
	Attempts int       `json:"attempts"`
	Error    string    `json:"error,omitempty"`
}

// Entry is a line of a timeline.
type Entry struct {
	At time.Time `json:"at"`
	// Kind is a word to show it by, such as opened, step, page, acknowledged.
	Kind string `json:"kind"`
	Text string `json:"text"`
	// By is who did it; empty: the hub or a host.
	By string `json:"by,omitempty"`
}
