package oncall

import (
	"errors"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// Action is what a notification does to a trouble in the eyes of who is told.
type Action string

// The actions.
const (
	ActionTrigger     Action = "trigger"     // the first page of a trouble
	ActionUpdate      Action = "update"      // it changed
	ActionAcknowledge Action = "acknowledge" // somebody has taken it
	ActionResolve     Action = "resolve"     // it is over
)

// The causes that the text has words for. Any other is shown as it stands.
const (
	CauseFull    = "full"    // connections are refused or thrown out: the table is full
	CauseFilling = "filling" // the table is filling
	CauseChains  = "chains"  // entries are refused on hash chains too long: too few buckets
	CauseSilent  = "silent"  // hosts are no longer heard of
	CauseBudget  = "budget"  // the fleet's steps of the hour are used up, and further ones are held
)

// Notification is one message about one trouble. It holds facts; the words are made of them by [Title] and [Text].
type Notification struct {
	// ID names this message: the same over every attempt, and no other's.
	ID string `json:"id"`
	// Key names the trouble: the same from trigger to resolve.
	Key    string `json:"key"`
	Action Action `json:"action"`
	// Severity is "critical" or "warning".
	Severity string `json:"severity"`
	// Title is one line that says it all; empty: it is made of the rest.
	Title string `json:"title,omitempty"`
	// At is when this message was made, Since when the trouble began, Until when it ended: zero while it lasts.
	At    time.Time `json:"at"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"`
	// Site is where it is now; empty where it is at several.
	Site string `json:"site,omitempty"`
	// Cause is one of the causes above.
	Cause string `json:"cause,omitempty"`
	// Labels are what all of the trouble has in common, such as the site or the rack that all its hosts are in. They stay the
	// same from trigger to resolve: Alertmanager would take another value for another alert.
	Labels map[string]string `json:"labels,omitempty"`
	// Hosts are some of the hosts, the worst first; HostsTotal is how many there are in all.
	Hosts      []string `json:"hosts,omitempty"`
	HostsTotal int      `json:"hosts_total"`
	// Sites is how many of the hosts are at each site.
	Sites map[string]int `json:"sites,omitempty"`
	// Refused counts connections that the kernel refused, ThrownOut those that it dropped to make room.
	Refused   uint64 `json:"refused"`
	ThrownOut uint64 `json:"thrown_out"`
	// Facts are what else is known, one sentence each, without a full stop.
	Facts []string `json:"facts,omitempty"`
	// Did is what ctwarden did and whether it helped, one sentence each, without a full stop.
	Did []string `json:"did,omitempty"`
	// Brief is the same in a few words, for the title; empty: the title leaves it out.
	Brief string `json:"brief,omitempty"`
	// Top are those who hold the most entries, the first with the most; Verdict says what to make of it. Entries is how many
	// the table has; 0: there are several, or it is not known.
	Top     []remediate.Talker `json:"top,omitempty"`
	Entries uint64             `json:"entries,omitempty"`
	Verdict string             `json:"verdict,omitempty"`
	// Next are commands to run, the first first; see [NextFor].
	Next []string `json:"next,omitempty"`
	// Link is the address of a page with more.
	Link string `json:"link,omitempty"`
	// By is who acknowledged it.
	By string `json:"by,omitempty"`
	// Verified is true where the kernel's counters bear it out.
	Verified bool `json:"verified"`
	// Test is true for a page that somebody asked for to see it arrive.
	Test bool `json:"test,omitempty"`
}

// The bounds of a notification in a queue.
const (
	maxHosts  = 50
	maxLines  = 20
	maxLabels = 32
	maxRunes  = 1000 // of one text
	maxName   = 255  // bytes of an ID or a key; PagerDuty takes no longer ones
)

// check refuses what no sender could use.
func (n Notification) check() error {
	switch n.Action {
	case ActionTrigger, ActionUpdate, ActionAcknowledge, ActionResolve:
	default:
		return errors.New("the notification's action " + string(n.Action) + " is none that exists")
	}
	switch {
	case n.ID == "" || n.Key == "":
		return errors.New("the notification has no id or no key")
	case len(n.ID) > maxName || len(n.Key) > maxName:
		return errors.New("the notification's id or key is longer than 255 bytes")
	case n.At.IsZero() || n.Since.IsZero():
		return errors.New("the notification has no time")
	case n.Action == ActionResolve && n.Until.IsZero():
		return errors.New("the notification of an end does not say when that was")
	}
	return nil
}
