// Package hub is the fleet's side of the events: where they are stored and where they are read.
//
// [Setup] makes the JetStream stream, the host states' bucket and the hub's consumer, on a NATS cluster or on the
// [Server] that this package can start inside the process for a single machine, a lab and the quick start.
// [Receiver] reads the events from there: at least once from the stream, once per id to its handler.
//
// It is apart from notify because it links the NATS server, which an agent must never carry.
package hub
