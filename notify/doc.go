// Package notify carries what happened on a host to those who must know.
//
// An event starts as a [remediate.Event]. [Encode] turns it into an [Outgoing]: a CloudEvents 1.0 document with its
// NATS subject, whose bytes never change again. The agent commits it to the outbox (internal/state) together with
// what caused it, and only then do [Publisher] and [JournalSink] take it from there:
//
//	remediate.Event ── Encode ── Outgoing ──┬── outbox on disk ── Publisher ── JetStream, stream CTWARDEN
//	                                        └── JournalSink ── the host's own journal
//
// The publisher opens its connection at start and keeps it, because a full conntrack table would refuse a new one.
// An event leaves the outbox only after JetStream acknowledged it, and carries its id as Nats-Msg-Id, so a repeated
// publication is recognised by the stream for two hours and by every consumer ([Decode] gives the id) for ever.
//
// [Events] is the other end: it follows the stream for "ctwarden events". [Line] says an event in one line for people.
//
// This package never starts a NATS server; that is notify/hub, which the agent does not link.
package notify
