// Package watcher reads the kernel's records from wherever a host keeps them, none lost and none twice.
//
// There are three kinds of place, each a [Source] that runs until it is told to stop and hands what it read to one
// channel as a [Batch]: matches, counts, and the position to resume from, which belong together and are saved
// together by the receiver.
//
//   - [Kmsg] is the kernel's own ring buffer, /dev/kmsg: the fastest (a record is seen within milliseconds), but it
//     overwrites its oldest records and ends with the boot.
//   - [Journal] is systemd-journald, through libsystemd. It outlives the boot; a record is seen within about 100 ms.
//   - [Syslog] is one text file written by a syslog daemon, rotated and truncated under the reader's hands.
//
// A record that stands in several places is delivered by each of them: it is the receiver that counts it once.
//
// All sources keep the same promises. They block while the receiver is busy, and read no further. A source that is
// not there says so once, with what can be done about it ([State]), goes on trying, and says when it is back. Records
// that are lost for good are counted ([Stats].Lost), or, where their number cannot be known, told of
// ([Stats].LostText). A match is sent at once; a position alone at most once a second, so an idle host stays idle.
//
// What a record says is worked out by [MatchMessage] (the kernel's words) and [LineParser] (the envelope that a syslog
// daemon put around them). [ScanReader] and [ScanJournal] read the past: files and journal directories, from their
// beginning to their end.
package watcher
