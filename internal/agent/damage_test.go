package agent

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// TestPromiseDamagedStateNeverMisleads damages the state file in random ways, before the start and while it is open, and
// has the agent go through its start, its readings and its saving each time. It must neither crash nor hang nor write a
// limit, and what it saves must be there afterwards. Damage to what is not looked at while running is found at the next
// start, and said then.
func TestPromiseDamagedStateNeverMisleads(t *testing.T) {
	h := newScratch(t)
	h.cfg.NATS = notify.Dial{Servers: []string{"nats://127.0.0.1:1"}} // never dialled: the agent is not run
	h.cfg.StateDir = testhost.MemoryDir(t)
	whole := h.leave(t)
	r := testhost.Rand(t)
	trials := testhost.Amount(1000, 20_000)
	found := map[moment]int{}
	for i := range trials {
		whileOpen := i%3 == 0
		done := make(chan moment, 1)
		go func() { done <- h.survive(t, whole, damage(r, whole), whileOpen) }()
		select {
		case at := <-done:
			found[at]++
		case <-time.After(time.Minute):
			t.Fatalf("trial %d hangs", i)
		}
		if t.Failed() {
			t.Fatalf("trial %d", i)
		}
	}
	testhost.Held(t, "5.4 damaged state file", "%d random damages: %d found at the start, %d while running, %d at the next start, "+
		"%d hit nothing in use; 0 crashes, 0 hangs, 0 wrong writes",
		trials, found[atStart], found[whileRunning], found[atNextStart], found[never])
}

// moment is when damage was found, and the file set aside.
type moment int

const (
	never moment = iota
	atStart
	whileRunning
	atNextStart
)

// leave runs the agent until its state file has an incident, steps, positions and events, and the limit that it wrote
// is persisted; then an administrator takes the limit back. It returns the file.
func (h scratch) leave(t *testing.T) []byte {
	t.Helper()
	a := h.open(t)
	a.sample()
	for to := uint64(70_000); to <= 80_000; to += 500 {
		if r := a.raise(to); !r.Done {
			t.Fatal(r.Text)
		}
		a.save(true)
		a.recorder.work(context.Background())
	}
	last := a.steps[len(a.steps)-1]
	if _, err := a.applier.Persist(last, apply.PersistMeta{}); err != nil {
		t.Fatal(err)
	}
	h.table(t, 79_000, 80_000, 0)
	a.spaces[hostInode].next = time.Time{}
	a.sample()
	if len(a.tracker.Open()) == 0 {
		t.Fatal("no incident")
	}
	a.save(true)
	if !a.recorder.work(context.Background()) {
		t.Fatal("not saved")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(h.stateFile())
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

func (h scratch) stateFile() string { return filepath.Join(h.cfg.StateDir, "state.db") }

// damage returns the content with something wrong in it.
func damage(r *rand.Rand, whole []byte) []byte {
	const page = 4096
	bad := bytes.Clone(whole)
	at := r.IntN(len(bad) - 64)
	switch r.IntN(8) {
	case 0: // one bit anywhere
		bad[at] ^= 1 << r.IntN(8)
	case 1: // one bit in the header of a page or in its elements
		bad[r.IntN(len(bad)/page)*page+r.IntN(64)] ^= 1 << r.IntN(8)
	case 2: // a burst
		for i := range 64 {
			bad[at+i] = byte(r.Uint32())
		}
	case 3: // a page in the place of another
		from, to := r.IntN(len(bad)/page), r.IntN(len(bad)/page)
		copy(bad[to*page:(to+1)*page], bad[from*page:])
	case 4: // cut short
		bad = bad[:at]
	case 5: // a page of zeros
		clear(bad[at/page*page : (at/page+1)*page])
	case 6: // the half of a write
		from := r.IntN(len(bad)/page) * page
		copy(bad[from:from+page/2], bad[r.IntN(len(bad)/page)*page:])
	case 7: // another file altogether
		bad = make([]byte, r.IntN(3*page))
		for i := range bad {
			bad[i] = byte(r.Uint32())
		}
	}
	return bad
}

// survive has the agent start and work on a damaged file, or on a good one that is damaged meanwhile, and start again on
// what it then saved. It tells when the damage was found.
func (h scratch) survive(t *testing.T, whole, bad []byte, whileOpen bool) (found moment) {
	h.table(t, 100, 65_536, 0) // the administrator's
	content := bad
	if whileOpen {
		content = whole
	}
	if err := os.WriteFile(h.stateFile(), content, 0o600); err != nil {
		t.Error(err)
		return never
	}
	a, err := Open(t.Context(), h.cfg)
	if err != nil {
		t.Errorf("open: %v", err)
		return never
	}
	a.sample()
	if whileOpen {
		if err := overwrite(h.stateFile(), bad); err != nil {
			t.Error(err)
		}
	}
	a.queue(a.tracker.Event(time.Now(), remediate.EventAgentStarted, a.agentState()))
	a.keep(remediate.Step{ID: "last", From: 1, To: 2})
	a.save(true)
	if !a.recorder.work(context.Background()) {
		problem, _ := a.recorder.health()
		t.Errorf("not saved: %s", problem)
	}
	if h.setAside(t) {
		if found = atStart; whileOpen {
			found = whileRunning
		}
	}
	steps, events := len(a.steps), a.outbox.count().Events
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	h.again(t, steps, events, whileOpen && found == never)
	if h.setAside(t) {
		found = atNextStart
	}
	if got := h.limit(t); got != "65536" {
		t.Errorf("the limit was written: %s", got)
	}
	return found
}

// setAside tells whether a file was set aside, and removes it.
func (h scratch) setAside(t *testing.T) bool {
	names, err := filepath.Glob(h.stateFile() + ".damaged-*")
	if err != nil {
		t.Error(err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
	return len(names) > 0
}

// overwrite puts other content into a file that is open elsewhere.
func overwrite(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(content, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(content)))
}

// again looks at what was saved as the next start does. Damage that was not seen before may show only now.
func (h scratch) again(t *testing.T, steps, events int, mayBeDamaged bool) {
	s, found, err := state.Open(h.stateFile(), state.Options{})
	if err != nil {
		t.Errorf("open again: %v", err)
		return
	}
	defer s.Close()
	snap, err := s.Load()
	switch {
	case err != nil:
		t.Errorf("load again: %v", err)
	case found.SetAside != "" && !mayBeDamaged:
		t.Errorf("damaged again: %s", found.Problem)
	case found.SetAside != "":
	case len(snap.Steps) != steps || snap.Steps[steps-1].ID != "last" || s.Len() != events || events == 0:
		t.Errorf("%d steps, %d events; want %d and %d", len(snap.Steps), s.Len(), steps, events)
	}
}
