package agent

import (
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// holdWithin is how long the loop waits for the hold to be read, once. A disk that does not answer in it is not waited
// for again until it has.
const holdWithin = 500 * time.Millisecond

// holdReader reads the hold for the loop, from state_dir and from runtime_dir: one in either holds. The loop must not
// hang with the disk of the first; the second is in memory.
//
// A hold that is there and cannot be understood, or may not be read, counts. Where the disk does not tell, because it
// hangs or has an I/O error, what it told last counts, and what the agent has moved there since: on a disk that does not
// answer nobody else can have made a hold.
// Where it has told nothing yet, that counts as a hold: no step is taken before it is known that none is forbidden.
//
// Only a read that was begun for the question at hand answers it: one that hung tells of the time when it was begun.
type holdReader struct {
	places apply.HoldPlaces
	within time.Duration // holdWithin
	// reading has the result of the read in progress, on a channel of capacity one; nil: there is none.
	reading chan heldResult
	last    heldResult
	// moved is a hold that goes from runtime_dir to state_dir, or went there since that was read last; nil: none. It is set
	// by whoever moves it.
	moved atomic.Pointer[remediate.Hold]
}

type heldResult struct {
	held *remediate.Hold
	err  error
}

func newHoldReader(places apply.HoldPlaces) *holdReader {
	return &holdReader{places: places, within: holdWithin, last: heldResult{held: &remediate.Hold{By: "the disk of state_dir, which does not answer"}}}
}

// read gives the hold that lasts longest, as it is or as it was last known, together with why it is not known better.
func (h *holdReader) read(now time.Time) (*remediate.Hold, error) {
	inMemory, err2 := h.places.HeldInMemory(now) // first, since a hold moves from there to state_dir and never back
	kept, err := h.readKept(now)
	return kept.Longer(inMemory), errors.Join(err, err2)
}

// readKept gives the one in state_dir.
func (h *holdReader) readKept(now time.Time) (*remediate.Hold, error) {
	got, moved := heldResult{err: errDiskSlow}, h.moved.Load()
	if h.settled() {
		got = h.ask(now)
	}
	if isDiskFault(got.err) && !errors.Is(got.err, apply.ErrDamaged) && !errors.Is(got.err, fs.ErrPermission) {
		if known := h.last.held.Longer(moved); known.Active(now) {
			return known, got.err
		}
		return nil, got.err
	}
	h.moved.CompareAndSwap(moved, nil)
	h.last = got
	return got.held, got.err
}

// settled tells whether no read hangs any more. What one that did brought is too old to use.
func (h *holdReader) settled() bool {
	if h.reading == nil {
		return true
	}
	select {
	case <-h.reading:
		h.reading = nil
		return true
	default:
		return false
	}
}

// ask reads the hold in state_dir, for as long as the loop may wait.
func (h *holdReader) ask(now time.Time) heldResult {
	reading := make(chan heldResult, 1)
	// Not in an errgroup, whose Wait would wait for a disk that hangs.
	go func() {
		held, err := h.places.HeldKept(now)
		reading <- heldResult{held, err}
	}()
	timer := time.NewTimer(h.within)
	defer timer.Stop()
	select {
	case got := <-reading:
		return got
	case <-timer.C:
		h.reading = reading
		return heldResult{err: errDiskSlow}
	}
}
