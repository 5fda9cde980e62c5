package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// Source is one place that kernel records come from. It sends a batch every ten seconds ([BeatEvery]) even if there is
// nothing in it: one that falls silent is stuck.
//
// Run blocks until ctx is done (then it returns nil) or the source ends for good. It is called once, from one
// goroutine, and is the only sender on out; it never closes out. Every send also watches ctx. The receiver is the
// agent's loop, which is always ready within milliseconds; a source that finds out full waits and reads no further,
// so that nothing is lost but what the kernel or the file itself loses.
type Source interface {
	Run(ctx context.Context, out chan<- Batch) error
}

// Batch is what a source read since the batch before it. Batches of a source are in order, and a position belongs to
// all records up to and including its batch: the receiver saves the two together.
type Batch struct {
	Source remediate.Source
	// Path is the syslog file or journal directory; empty for kmsg and the live journal.
	Path string
	// Matches are in the order of the stream.
	Matches []remediate.Match
	Stats   Stats
	// Last is the wall-clock time of the newest record read; zero: unknown.
	Last time.Time
	// Position resumes the source behind this batch. A nil Data: unchanged.
	Position Position
	// CaughtUp is true once the source has reached the end that the stream had when it was opened, so that everything
	// older has been delivered. It stays true.
	CaughtUp bool
	// State is set when the source's state changed: opened, failed, recovered.
	State *State
	// Kernel has the newest of the kernel's records among what was read live, in order, [MostKernel] at most. Sources
	// can be held against each other by them. A source that cannot tell leaves it empty.
	Kernel []KernelRecord
}

// Stats counts records.
type Stats struct {
	// Records and Bytes count everything read, matching or not.
	Records uint64 `json:"records"`
	Bytes   uint64 `json:"bytes"`
	// Matches counts occurrences of the message: a record that says it was repeated N times counts N.
	Matches uint64 `json:"matches"`
	// Suppressed adds up what the records tell of suppressed messages.
	Suppressed uint64 `json:"suppressed"`
	// NotKernel, OtherHost and Unparsed count records that hold the phrase and are not this kernel's message.
	NotKernel uint64 `json:"not_kernel"`
	OtherHost uint64 `json:"other_host"`
	Unparsed  uint64 `json:"unparsed"`
	// Lost counts records that are lost: overrun, vacuumed, truncated; with a log that is truncated while it is written to
	// it is an estimate. LostText says how.
	Lost     uint64 `json:"lost"`
	LostText string `json:"lost_text,omitempty"`
}

// lose notes that records are gone: n of them, or that some may be, or will, where n is 0.
func (s *Stats) lose(n uint64, text string) {
	s.Lost += n
	if s.LostText != "" && s.LostText != text {
		text = s.LostText + "; " + text
	}
	s.LostText = text
}

// Position is where a stream was read to. Key names the stream (remediate.Match.Key), Data is the source's own,
// in JSON; what is saved is handed back at the next start.
type Position struct {
	Key  string
	Data []byte
}

// State tells whether a source can be read.
type State struct {
	Up bool
	// Problem says what is wrong, Remedy what an operator can do about it. Both are empty when all is well.
	Problem string
	Remedy  string
	// Absent is true where there is nothing to read, such as a file that does not exist: no fault while another source
	// is up.
	Absent bool
}

// failure is the error of a source that must be there and cannot be read. The other remedies are about one that need
// not be.
func (s State) failure(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w; %s", err, s.Remedy)
}
