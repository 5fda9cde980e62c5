// Package agent is the loop that joins the parts: sources and readings in, decisions out, one transaction at a time.
//
// The loop owns the tracker and every book; while the host is at rest its alarm takes turns in its place. It takes batches from the sources and readings from the
// kernel's table, lets package remediate say what follows, has package apply carry out a step at once, and hands the
// rest to the recorder: events, positions and the tracker's state, to be committed together. The recorder is the only
// one that waits for a disk or a log; the publisher is the only one that waits for the network. So neither a full
// disk nor a dead NATS server delays the next reading.
//
//	sources ── batches (64) ──▶ loop ── changes, merged while busy ──▶ recorder ── wake-up (1) ──▶ publisher ─▶ NATS
//	control socket, /metrics ── calls (0) ──▶ loop ◀── calls (0): a file was written ── recorder
package agent
