package notify

import (
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// The names of the fleet's orders. Like those of the events they are part of the contract.
const (
	// CommandPrefix precedes all, site.<site> or host.<site>.<host> in the subject of an order.
	CommandPrefix = "ctwarden.v1.cmd"
	// AnswerPrefix precedes <site>.<host> in the subject of a host's answer.
	AnswerPrefix = "ctwarden.v1.ans"
	// CommandsStream is the JetStream stream that journals both.
	CommandsStream = "CTWARDEN_COMMANDS"
)

// The bounds of an order. Whoever listens reads no more.
const (
	// MaxCommand is the most bytes that an order's document may have, and an answer's.
	MaxCommand = 4 << 10
	// MaxRev is the highest revision: the largest whole number that every JSON reader keeps exact.
	MaxRev = 1<<53 - 1
	// MaxHold is how far ahead an order may end.
	MaxHold = 366 * 24 * time.Hour
	// CommandAge is how far an order's time and the host's clock may be apart. An order is heard when it is given or never,
	// so one that is older was played again, or a clock is wrong.
	CommandAge = time.Hour

	maxID  = 64
	maxBy  = 128
	maxWhy = 512
)

// CommandVerb is what the fleet orders.
type CommandVerb string

// The orders.
const (
	CommandHold   CommandVerb = "hold"   // stop all automatic writes
	CommandUnhold CommandVerb = "unhold" // release the fleet's hold; a hold of the host's own stays
	CommandMode   CommandVerb = "mode"   // say the mode to the hosts that await it (remediate.await_fleet)
)

// Command is one order of the fleet to one host, to the hosts of a site or to all. Who may give one is decided by the
// permissions of the NATS account: nobody but the hub may publish below [CommandPrefix].
//
// A host keeps one hold and one mode of the fleet's, whichever it heard last. Where a hold of all and one of a site
// overlap, the hub says to each host what is in force there.
type Command struct {
	// ID names the order: 1 to 64 letters, digits, "-" or "_". A host carries out each once.
	ID string `json:"id"`
	// Rev is the revision of what the fleet wants, from 1. A host refuses an order that is older than the last of its kind
	// that it heard: hold and unhold are one kind, mode is the other. Whoever begins to count anew goes on from the highest
	// revision that a host's state or answer tells.
	Rev uint64 `json:"rev"`
	// At is when the order was given, By who gave it, Why what for.
	At   time.Time   `json:"at"`
	By   string      `json:"by"`
	Why  string      `json:"why,omitempty"`
	Verb CommandVerb `json:"verb"`
	// Until is when a hold, or a mode, ends by itself; zero: when another order comes. unhold has none.
	Until time.Time `json:"until,omitzero"`
	// Mode is the mode that the order mode says; empty in the others.
	Mode remediate.Mode `json:"mode,omitempty"`
}

// CommandReason is a fixed word for why a host did not carry out an order.
type CommandReason string

// Why an order was not carried out. Nothing changed then on the host, but that the revision of one which is not for this
// host counts as heard.
const (
	// CommandBroken: the document is no order, or an order that nobody may give.
	CommandBroken CommandReason = "broken"
	// CommandOld: a newer order of its kind was heard before.
	CommandOld CommandReason = "old"
	// CommandRepeated: this very order was heard before.
	CommandRepeated CommandReason = "repeated"
	// CommandClock: the order's time and the host's clock are more than [CommandAge] apart.
	CommandClock CommandReason = "clock"
	// CommandExpired: the order's end has passed.
	CommandExpired CommandReason = "expired"
	// CommandNotAwaited: the host's own configuration says its mode (remediate.await_fleet is false, or mode is observe).
	CommandNotAwaited CommandReason = "not_awaited"
	// CommandFailed: the host could not do it; the text says why.
	CommandFailed CommandReason = "failed"
)

// Answer is what a host says to an order.
type Answer struct {
	// ID is the order's; empty where it could not be read.
	ID string `json:"id"`
	// Rev is the highest revision that the host has heard, this order's included.
	Rev  uint64 `json:"rev"`
	Site string `json:"site"`
	Host string `json:"host"`
	// Done is true where what was ordered holds on the host now; else Reason and Text say why not.
	Done   bool          `json:"done"`
	Reason CommandReason `json:"reason,omitempty"`
	Text   string        `json:"text,omitempty"`
	At     time.Time     `json:"at"`
}

// FleetState is what a host last heard of the fleet, in its state.
type FleetState struct {
	// Rev is the highest revision heard; 0: none. HoldRev and ModeRev are those of the last order of each kind.
	Rev     uint64 `json:"rev"`
	HoldRev uint64 `json:"hold_rev,omitempty"`
	ModeRev uint64 `json:"mode_rev,omitempty"`
	// Hold is the fleet's hold, while it is in force.
	Hold *remediate.Hold `json:"hold,omitempty"`
	// Mode is what the fleet said last, while it is in force; empty: nothing.
	Mode remediate.Mode `json:"mode,omitempty"`
	// ModeUntil is when that ends by itself; zero: when another order comes.
	ModeUntil time.Time `json:"mode_until,omitzero"`
	// Awaits is true where the host's configuration leaves the mode to the fleet.
	Awaits bool `json:"awaits,omitempty"`
	// Problem says why orders do not come through.
	Problem string `json:"problem,omitempty"`
}

// CommandToAll is the subject of an order to all hosts.
func CommandToAll() string { return CommandPrefix + ".all" }

// CommandToSite is the subject of an order to the hosts of a site.
func CommandToSite(site string) string { return CommandPrefix + ".site." + site }

// CommandToHost is the subject of an order to one host.
func CommandToHost(site, host string) string {
	return CommandPrefix + ".host." + site + "." + HostToken(host)
}

// CommandSubjects are the three that a host listens to.
func CommandSubjects(site, host string) []string {
	return []string{CommandToAll(), CommandToSite(site), CommandToHost(site, host)}
}

// AnswerSubject is where a host answers orders.
func AnswerSubject(site, host string) string {
	return AnswerPrefix + "." + site + "." + HostToken(host)
}
