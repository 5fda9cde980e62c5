package remediate

import "time"

const (
	// resizePause is how long the hash is left alone in quiet after a resize that failed, stepWithout how long a step
	// does without one.
	resizePause = 10 * time.Minute
	stepWithout = time.Minute
)

// HashReason is the word for why the hash is not sized in quiet. It stands in the status and in the log, not in events:
// no step was asked for, so none is refused.
type HashReason string

// Why the hash is not sized.
const (
	HashSized    HashReason = "sized"          // it is large enough for the ceiling
	HashKeep     HashReason = "keep"           // it is never to be touched
	HashObserve  HashReason = "observe_mode"   // mode is observe
	HashHeld     HashReason = "held"           // an operator holds all automatic writes
	HashReadOnly HashReason = "read_only"      // it cannot be written from here
	HashSmaller  HashReason = "made_smaller"   // somebody made it smaller than ctwarden set it in this boot
	HashForeign  HashReason = "foreign_change" // somebody else changed the limit a short while ago
	HashRefusing HashReason = "refusing"       // connections are being refused: not the time for a stall that need not be
	HashHigh     HashReason = "pressure"       // a table has so little room that it may be full before a resize is over
	HashFailed   HashReason = "failed"         // a resize failed a short while ago
	HashStall    HashReason = "stall"          // it would stall packets for too long now
	HashMemory   HashReason = "memory"         // the table could outgrow its share of memory
	HashNoLimit  HashReason = "no_limit"       // the limit is none that ctwarden ever writes
)

// Text explains the word, for a person.
func (r HashReason) Text() string {
	switch r {
	case HashSized:
		return "large enough for remediate.ceiling"
	case HashKeep:
		return "remediate.buckets is keep"
	case HashObserve, HashHeld, HashForeign, HashMemory:
		return Reason(r).Text()
	case HashReadOnly:
		return "the buckets cannot be written from here; set them on the host"
	case HashSmaller:
		return "it is smaller than ctwarden set it in this boot: somebody else changed it since, or the kernel gave less; that stands"
	case HashRefusing:
		return "connections are being refused; a step that needs a larger hash resizes it"
	case HashHigh:
		return "a table stands at incident.pressure or above; it is resized when there is room, or by a step that needs it"
	case HashFailed:
		return "the last try failed less than 10 minutes ago"
	case HashStall:
		return "too many entries now; it is resized when there are fewer, or by a step that needs it"
	case HashNoLimit:
		return "the limit is 0, or more than the kernel takes today"
	}
	return ""
}

// Presizing says whether the hash is to be sized for the ceiling now.
type Presizing struct {
	// Do is true where it is to be sized now; then Reason is empty, else it says why not.
	Do     bool
	Reason HashReason
	// Buckets is the size that the ceiling needs.
	Buckets uint64
	// Stall is for how long a resize would stop all packets now, as predicted.
	Stall time.Duration
	// Chains is what the kernel makes of long hash chains.
	Chains Chains
}

// Text explains the reason, for a person.
func (d Presizing) Text() string {
	if d.Reason == HashKeep {
		return d.Reason.Text() + "; " + d.Chains.keepText()
	}
	return d.Reason.Text()
}

// Presize decides whether the hash is to be sized for the ceiling while it is quiet, so that no later step has to do it
// under load. Nothing asks for it, so that s.Ask is not looked at; and a kernel without a limit on chains gains by it
// too. It never shrinks the hash. What was set once in a boot is not set again: where it is smaller since, that is
// somebody's own doing.
func Presize(p Policy, s Situation) Presizing {
	d := Presizing{
		Buckets: s.Chains.PresizedBuckets(p.Ceiling), Stall: PredictedStall(s.moved(), s.StallPerEntry), Chains: s.Chains,
	}
	d.Reason = leaveHash(p, s, d)
	d.Do = d.Reason == ""
	return d
}

// leaveHash is why the hash is to be left as it is; empty: it is to be sized.
func leaveHash(p Policy, s Situation, d Presizing) HashReason {
	switch {
	case s.Limits.Buckets >= d.Buckets:
		return HashSized
	case p.Buckets != BucketsPresize:
		return HashKeep
	case p.Mode != ModeRemediate:
		return HashObserve
	case s.Held.Active(s.Now):
		return HashHeld
	case !s.Limits.BucketsWritable:
		return HashReadOnly
	case s.HashSet >= d.Buckets:
		return HashSmaller
	case within(s.Now, s.ForeignAt, p.ForeignPause):
		return HashForeign
	case s.Refusing:
		return HashRefusing
	case s.Limits.Max > 0 && float64(s.Fullest) >= p.Pressure*float64(s.Limits.Max):
		return HashHigh
	case within(s.Now, s.ResizeFailedAt, resizePause):
		return HashFailed
	case s.Limits.Max == 0 || s.Limits.Max > MaxLimit:
		return HashNoLimit
	case d.Stall > QuietStall:
		return HashStall
	case !memoryFits(p, s, s.Limits.Max):
		return HashMemory
	}
	return ""
}
