// Package remediate decides what a host with a filling connection-tracking table needs next.
//
// It is the pure core of ctwarden: no I/O, no clock, no goroutine. Everything that it knows is handed to it as a
// value with the time it was seen at, and everything that it wants done is handed back as a value with a named
// reason, so that the same input always gives the same answer and a whole incident can be played in a table test.
//
// The flow is one way:
//
//	Match   ─┐
//	         ├─ Tracker ── Incident ── Demand ─┐
//	Reading ─┘                                 ├─ Decide ── Decision
//	           Situation, Policy ──────────────┘
//
// A [Match] is a hint that something was refused; a [Reading] is the kernel's own word for it. [Tracker] joins the two
// into an [Incident] per network namespace and emits an [Event] at each change. [Decide] is a plain function from a
// [Policy] and a [Situation] to a [Decision]; doing nothing is a decision too, and has a reason.
package remediate
