package fleet

import (
	"errors"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// The errors of what a person asks for.
var (
	// ErrUnknown says that there is no group or silence of that ID.
	ErrUnknown = errors.New("there is none of that id")
	// ErrOver says that the group is closed, or that the silence has ended.
	ErrOver = errors.New("it is over")
)

// Event is an event of a host's agent.
type Event struct {
	Site, Host, Version string
	remediate.Event
}

// HostSeen is what a host's state says in short.
type HostSeen struct {
	Site, Host string
	// Version is the agent's; empty: not told.
	Version string
	// At is when the state came to the server, by the server's clock: a host's own may be wrong.
	At time.Time
	// Made is when the host made the state, by its own clock; zero: not told.
	Made time.Time
	// Fill is the share of the limit in use, Count and Max are of the fullest namespace, in entries.
	Fill       float64
	Count, Max uint64
	Mode       remediate.Mode
	// Incidents are the IDs of its open incidents, and Listed is true where the state has them all: one without the list, or
	// with a list that was cut, says nothing of what is over.
	Incidents []string
	Listed    bool
}

// Kind is what a group is about.
type Kind string

// The kinds.
const (
	KindConntrack Kind = "conntrack" // incidents of hosts
	KindSilent    Kind = "silent"    // hosts that are no longer heard of
	KindBudget    Kind = "budget"    // the fleet's steps of the hour are used up
)

// Group is one trouble of the fleet: a copy that stays as it is. Maps in it are its own.
type Group struct {
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Cause is one of the causes of package oncall.
	Cause string `json:"cause"`
	// By has the values of group_by that its hosts share; empty for a group of one address.
	By map[string]string `json:"by,omitempty"`
	// Talker is the address that fills the tables of its hosts, where that is what they have in common.
	Talker string `json:"talker,omitempty"`
	// Severity is the highest of its open incidents so far: it does not fall while the group is open.
	Severity remediate.Severity `json:"severity"`
	// OpenedAt is when the first of its incidents was opened, ChangedAt when something last changed, ClosedAt when it was
	// found to be over; zero: it is open.
	OpenedAt  time.Time `json:"opened_at"`
	ChangedAt time.Time `json:"changed_at"`
	ClosedAt  time.Time `json:"closed_at,omitzero"`
	// Hosts and Incidents count all that ever belonged to it, OpenHosts those with an open incident or silent now.
	Hosts     int `json:"hosts"`
	OpenHosts int `json:"open_hosts"`
	Incidents int `json:"incidents"`
	// SilentHosts are those of OpenHosts that fell silent, so that their incident cannot be told to have ended.
	SilentHosts int `json:"silent_hosts,omitempty"`
	// Unverified are the open incidents that the kernel's counters do not bear out.
	Unverified int `json:"unverified,omitempty"`
	// Sites has the number of hosts at each site.
	Sites map[string]int `json:"sites"`
	// Sample names at most ten hosts, those with open incidents first, then by what was refused.
	Sample []string `json:"sample"`
	// Drops and EarlyDrops are connections refused, also on hash chains too long, and entries thrown out, over all incidents.
	Drops      uint64      `json:"drops"`
	EarlyDrops uint64      `json:"early_drops"`
	Steps      StepSummary `json:"steps"`
	// Top are the addresses that lead on its hosts, with their entries summed up.
	Top []remediate.Talker `json:"top,omitempty"`
	// Verdict is what a host said about who fills its table, where the group has one open host.
	Verdict string `json:"verdict,omitempty"`
	// Historical is true for what was found in old records: never paged.
	Historical bool `json:"historical,omitempty"`
	// Silenced is true while nobody is paged on account of a silence.
	Silenced bool `json:"silenced,omitempty"`
	// AckBy and AckAt say who acknowledged it and when; empty: nobody.
	AckBy string    `json:"ack_by,omitempty"`
	AckAt time.Time `json:"ack_at,omitzero"`
	// Escalated is how many stages of escalation were reached.
	Escalated int `json:"escalated,omitempty"`
	// MergedInto is the group that its incidents moved to before anybody was told; it is closed then.
	MergedInto string `json:"merged_into,omitempty"`
	// Follows is the open group of the same cause beside which this one is news that had to wake somebody.
	Follows string `json:"follows,omitempty"`
	// Anew is how often those who were told were told anew, under another key, since it got worse.
	Anew int `json:"anew,omitempty"`
	// Related are groups with the same top address, and those beside which this one is news, or which are news beside it.
	Related  []string    `json:"related,omitempty"`
	Pages    []PageState `json:"pages"`
	Timeline []Entry     `json:"timeline"`
}

// StepSummary counts what ctwarden did about the incidents of a group.
type StepSummary struct {
	// Applied, Effective, Ineffective, Failed and Reverted count steps.
	Applied     int `json:"applied"`
	Effective   int `json:"effective"`
	Ineffective int `json:"ineffective"`
	Failed      int `json:"failed"`
	Reverted    int `json:"reverted"`
	// Refused counts the incidents in which no step was taken for that reason.
	Refused map[remediate.Reason]int `json:"refused,omitempty"`
}

// PageStatus is what became of a page.
type PageStatus string

// What may become of a page.
const (
	PageDue       PageStatus = "due"       // it has to go out
	PageDelivered PageStatus = "delivered" // it was taken at the other end
	PageReplaced  PageStatus = "replaced"  // a later one said more, before it was sent
	PageDead      PageStatus = "dead"      // it was given up
)

// PageState is one page of a group.
type PageState struct {
	ID     string        `json:"id"`
	To     string        `json:"to"`
	Route  string        `json:"route"`
	Action oncall.Action `json:"action"`
	// Key is what the sender knows the trouble by; empty: the group's ID.
	Key    string     `json:"key,omitempty"`
	DueAt  time.Time  `json:"due_at"`
	Status PageStatus `json:"status"`
	// At, Attempts and Err tell of the delivery.
	At       time.Time `json:"at,omitzero"`
	Attempts int       `json:"attempts,omitempty"`
	Err      string    `json:"err,omitempty"`
}

// Page is a notification that has to go to one sender.
type Page struct {
	// ID is the same whenever this page is decided anew; Group is the group's.
	ID    string
	Group string
	// To is the sender's name.
	To string
	oncall.Notification
}

// Delivery is what became of a page, told once.
type Delivery struct {
	At       time.Time
	Attempts int
	// Err is why it is dead, or whom a delivered one missed.
	Err string
	// Dead is true for one that was given up, Replaced for one that was not sent because a later one says more.
	Dead, Replaced bool
}

// Entry is one line of a group's timeline.
type Entry struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
	// Site and Host say where, for what concerns one host.
	Site string `json:"site,omitempty"`
	Host string `json:"host,omitempty"`
	// Key is true for what is kept when the timeline is full.
	Key bool `json:"key,omitempty"`
}

// HostState is how a host is heard of.
type HostState string

// The states of a host.
const (
	HostUp      HostState = "up"
	HostSilent  HostState = "silent"  // not seen for SilentAfter
	HostStopped HostState = "stopped" // its agent said goodbye
)

// Host is a known host. Its Labels are shared: not to be changed.
type Host struct {
	Site    string            `json:"site"`
	Host    string            `json:"host"`
	Version string            `json:"version,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	State   HostState         `json:"state"`
	// SeenAt is when it was last seen, StateAt since when it is silent or stopped; zero: it is neither.
	SeenAt  time.Time `json:"seen_at"`
	StateAt time.Time `json:"state_at,omitzero"`
	// Fill, Count, Max and Mode are as last seen.
	Fill  float64        `json:"fill"`
	Count uint64         `json:"count"`
	Max   uint64         `json:"max"`
	Mode  remediate.Mode `json:"mode,omitempty"`
	// Severity is the highest of its open incidents, Open their number, Group that incident's group.
	Severity remediate.Severity `json:"severity,omitempty"`
	Open     int                `json:"open,omitempty"`
	Group    string             `json:"group,omitempty"`
	// Folded counts further open incidents, the oldest, of a host that has more than 64: they are only counted.
	Folded int `json:"folded,omitempty"`
}

// HostIncident is one incident of one host.
type HostIncident struct {
	ID         string             `json:"id"`
	Group      string             `json:"group,omitempty"`
	NetNS      string             `json:"netns"`
	Severity   remediate.Severity `json:"severity"`
	Cause      string             `json:"cause"`
	Verified   bool               `json:"verified"`
	Historical bool               `json:"historical,omitempty"`
	OpenedAt   time.Time          `json:"opened_at"`
	ClosedAt   time.Time          `json:"closed_at,omitzero"`
	Drops      uint64             `json:"drops"`
	EarlyDrops uint64             `json:"early_drops"`
	ChainDrops uint64             `json:"chain_drops,omitempty"`
	Count      uint64             `json:"count"`
	Peak       uint64             `json:"peak_count"`
	Max        uint64             `json:"max"`
	Top        []remediate.Talker `json:"top,omitempty"`
	Verdict    string             `json:"verdict,omitempty"`
	Outcome    remediate.Outcome  `json:"outcome,omitempty"`
	// Ended says why it was ended without its host's word; empty: it was not.
	Ended string     `json:"ended,omitempty"`
	Steps []HostStep `json:"steps,omitempty"`
	// NoStep lists why no step was taken.
	NoStep []remediate.Reason `json:"no_step,omitempty"`
}

// HostStep is one step of one host.
type HostStep struct {
	At   time.Time `json:"at"`
	From uint64    `json:"from"`
	To   uint64    `json:"to"`
	// Reason is what asked for it.
	Reason  remediate.Reason  `json:"reason"`
	Outcome remediate.Outcome `json:"outcome,omitempty"`
	// Failed and Reverted are true for a step that could not be written, and one that was undone.
	Failed   bool `json:"failed,omitempty"`
	Reverted bool `json:"reverted,omitempty"`
}

// Silence keeps pages back. What it matches is shown all the same.
type Silence struct {
	ID string `json:"id"`
	// Site, Host, Labels and Cause say what: Host and the labels' values are patterns as in [path.Match]; empty: any.
	Site   string            `json:"site,omitempty"`
	Host   string            `json:"host,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Cause  string            `json:"cause,omitempty"`
	// From and Until are when it holds, Until excluded. A zero From is the time it was made.
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	// By says who made it, Comment why, MadeAt when.
	By      string    `json:"by"`
	Comment string    `json:"comment,omitempty"`
	MadeAt  time.Time `json:"made_at"`
	// EndedBy says who ended it before its time; Until is then when.
	EndedBy string `json:"ended_by,omitempty"`
}

// Control is what the fleet decided by itself to ask of its hosts.
type Control struct {
	// ID is the group that tells people of it.
	ID string `json:"id"`
	// Verb is "hold": no automatic step on any host.
	Verb string `json:"verb"`
	// Until is when it ends by itself.
	Until time.Time `json:"until"`
	Why   string    `json:"why"`
}
