//go:build !(linux && cgo)

package watcher

import (
	"context"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// Journal is the journal source, which this program was built without: libsystemd needs cgo.
type Journal struct{ cfg JournalConfig }

// NewJournal never fails; Run says what is missing.
func NewJournal(cfg JournalConfig) (*Journal, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Journal{cfg}, nil
}

// Run says that the source is not built in and waits for ctx. It fails where the journal is Required.
func (j *Journal) Run(ctx context.Context, out chan<- Batch) error {
	if j.cfg.Required {
		return errNoJournalCode
	}
	s := newSender(out, j.cfg.Now, remediate.SourceJournal, j.cfg.Directory)
	s.setState(journalProblem(errNoJournalCode))
	s.caughtUp()
	if s.flush(ctx) == nil {
		<-ctx.Done()
	}
	return nil
}

// ScanJournal fails: the journal cannot be read without cgo.
func ScanJournal(context.Context, string, string, func(remediate.Match) error) (Stats, error) {
	return Stats{}, errNoJournalCode
}
