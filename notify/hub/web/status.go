package web

import (
	"time"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

// Status is the hub itself.
type Status struct {
	Version string `json:"version"`
	// Hub is this hub's name, Leader that of the one which leads; empty: none is known to.
	Hub     string `json:"hub"`
	Leader  string `json:"leader"`
	Leading bool   `json:"leading"`
	// Connected is whether NATS is reached, since Since. Loaded is whether the saved state has been read.
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`
	Loaded    bool      `json:"loaded"`
	// Deaf says why this hub does not hear of hosts, so that it calls none silent, and what to do; empty: it does.
	Deaf string `json:"deaf,omitempty"`
	// Problem says what is wrong and what to do; empty: nothing.
	Problem string `json:"problem,omitempty"`
	// Events were taken by this hub since it started, Duplicates of them had been delivered before. Pending wait in the stream, the oldest of them for Lag.
	Events     uint64 `json:"events"`
	Duplicates uint64 `json:"duplicates"`
	Pending    uint64 `json:"pending"`
	// Unprinted is how many events this hub did not print, since what reads them is too slow.
	Unprinted uint64 `json:"unprinted"`
	// Foreign is how many values this hub met in the bucket that no hub wrote. They are not followed.
	Foreign uint64        `json:"foreign"`
	Lag     time.Duration `json:"lag_ns"`
	Senders []Sender      `json:"senders"`
	// DeadLetters are messages given up on, newest first.
	DeadLetters []DeadLetter    `json:"dead_letters"`
	Silences    []fleet.Silence `json:"silences"`
	Holds       []Hold          `json:"holds"`
	Rollout     Rollout         `json:"rollout"`
	Budget      Budget          `json:"budget"`
}

// Sender is one way to on-call.
type Sender struct {
	Name string `json:"name"`
	// Kind is alertmanager, pagerduty, slack, webhook or mail.
	Kind    string `json:"kind"`
	Waiting int    `json:"waiting"`
	// Delivered, Retried and Dead count messages and attempts since the hub's start.
	Delivered uint64 `json:"delivered"`
	Retried   uint64 `json:"retried"`
	Dead      uint64 `json:"dead"`
	// Error is that of the last attempt, At its time; empty: it was delivered.
	Error string    `json:"error,omitempty"`
	At    time.Time `json:"at,omitzero"`
}

// DeadLetter is a message that was given up on.
type DeadLetter struct {
	ID       string    `json:"id"`
	Sender   string    `json:"sender"`
	Incident string    `json:"incident,omitempty"`
	Title    string    `json:"title"`
	Action   string    `json:"action"`
	At       time.Time `json:"at"`
	Attempts int       `json:"attempts"`
	Error    string    `json:"error"`
}

// Hold keeps hosts from automatic steps.
type Hold struct {
	// Site and Host say whom: both empty all hosts, Host empty a site's.
	Site  string    `json:"site,omitempty"`
	Host  string    `json:"host,omitempty"`
	Since time.Time `json:"since"`
	// Until is zero for one that only ends when it is released.
	Until time.Time `json:"until,omitzero"`
	By    string    `json:"by"`
	Why   string    `json:"why,omitempty"`
	// Budget is true for the hub's own, because the fleet's steps of the hour were used up.
	Budget bool `json:"budget,omitempty"`
	// Reached hosts have answered: Done that they hold, Refused that they do not. Missing have not.
	Reached int `json:"reached"`
	Done    int `json:"done"`
	Refused int `json:"refused"`
	Missing int `json:"missing"`
}

// Rollout is the staged way to mode remediate.
type Rollout struct {
	// Matchers are what the configuration lists, as text; none: the hub leaves modes alone.
	Matchers []string `json:"matchers"`
	// Hosts match, of which Remediating do remediate, and Unwilling did not opt in.
	Hosts       int `json:"hosts"`
	Remediating int `json:"remediating"`
	Unwilling   int `json:"unwilling"`
}

// Budget is the fleet's bound on steps.
type Budget struct {
	// PerHour is the bound; 0: there is none. Used is what the last hour took of it.
	PerHour int `json:"per_hour"`
	Used    int `json:"used"`
	// Spent is true while it holds the fleet.
	Spent bool `json:"spent"`
}

// Verb is what a user asks for.
type Verb string

// The verbs.
const (
	VerbAcknowledge Verb = "acknowledge"
	VerbResolve     Verb = "resolve"
	VerbSilence     Verb = "silence"
	VerbUnsilence   Verb = "unsilence"
	VerbHold        Verb = "hold"
	VerbUnhold      Verb = "unhold"
)

// Action is what a user asks for.
type Action struct {
	Verb Verb
	// By is the user.
	By string
	// Incident is the one to acknowledge or to resolve; a host's own incident may be resolved too.
	Incident string
	// Silence is the one to begin, with By set, or to end, with its ID alone.
	Silence fleet.Silence
	// Site and Host are whom to hold, as in [Hold]; Until and Why as there.
	Site, Host string
	Until      time.Time
	Why        string
	// Budget is true for the release of the hub's own hold.
	Budget bool
}

// Result is what became of an action.
type Result struct {
	// ID is that of a new silence.
	ID string `json:"id,omitempty"`
	// Text says it for a person.
	Text string `json:"text,omitempty"`
	// Of a hold: as in [Hold].
	Reached int `json:"reached,omitempty"`
	Done    int `json:"done,omitempty"`
	Refused int `json:"refused,omitempty"`
	Missing int `json:"missing,omitempty"`
}
