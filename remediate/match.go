package remediate

import "time"

// Source is the kind of place a kernel record was read from. It is the value of the label "source" in every metric.
type Source string

// The three sources.
const (
	SourceKmsg    Source = "kmsg"    // /dev/kmsg, the kernel's own ring buffer
	SourceJournal Source = "journal" // systemd-journald
	SourceSyslog  Source = "syslog"  // a text file written by a syslog daemon
)

// Match is one kernel record that says that a connection was refused because the table is full, or that such
// messages were suppressed. It is a hint: it causes a reading of the counters and is never evidence by itself.
type Match struct {
	Source Source
	// Path is the file that the record stood in; empty for kmsg and the live journal.
	Path string
	// Host is the host name that the record carries, as written; empty where the envelope has none.
	Host string
	// Time is the wall-clock time of the record. Zero: the record has none and none could be derived.
	Time time.Time
	// Mono is the record's time since boot, to the microsecond, the same in kmsg, journal and syslog. Zero: unknown.
	Mono time.Duration
	// BootID is the boot that the record belongs to, 32 hex digits. Empty: unknown.
	BootID string
	// NetNS is the inode of the network namespace that the record names. Zero: it names none, so any may be meant.
	NetNS uint64
	// Count is how many times the message occurred: 1, or N for "message repeated N times". Zero for a record that
	// only tells of suppressed messages.
	Count int
	// Suppressed is the number of messages that the kernel says it did not print. It counts all networking messages
	// and so is an upper bound. Zero for the message itself.
	Suppressed int
	// Text is the kernel's message without its envelope, at most 256 bytes.
	Text string
}

// Key names the stream that the record was read from: the source, and the file where there is one. An incident
// counts each stream for itself, since the same record usually stands in several.
func (m Match) Key() string {
	if m.Path == "" {
		return string(m.Source)
	}
	return string(m.Source) + ":" + m.Path
}
