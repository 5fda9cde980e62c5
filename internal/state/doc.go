// Package state keeps what must survive a crash of the agent: one bbolt file, one transaction at a time.
//
// A [Change] is everything that one turn of the agent's loop wants remembered: how far each source was read, the
// tracker's incidents, the steps and the events to publish. [Store.Commit] writes all of it or nothing, and returns
// after the disk has it, so that a record's position never moves on without the event that the record caused.
//
// # The file
//
//	meta        schema, and the number of events dropped so far
//	positions   stream → the source's own position
//	tracker     one value: the tracker's snapshot
//	agent       small values of the agent's own
//	steps       sequence → id and JSON of a step; stepids finds a step by its id
//	outbox      sequence → an event not yet acknowledged; outboxids finds it by its id, expendable lists those that
//	            may be dropped when the outbox is full, in the order in which they are
//
// Every value is sealed with a checksum over its bucket, key and content, because bbolt itself has none for its pages.
//
// # Damage
//
// bbolt trusts its file: a flipped bit can make it panic, run in a circle or fault on memory beyond the end, at open
// or much later. So [Open] first reads the file page by page by itself, with every bound checked, then lets bbolt map
// it, then opens every seal. The outbox is nearly all of a large file; so [Begin] does the first of it for the other
// buckets alone, which are a few pages, and gives what they hold at once. A file that fails is renamed, a fresh one is
// started, and [Opened] says so. Damage that comes later turns into [ErrDamaged]; the agent goes on without and may open
// again.
package state
