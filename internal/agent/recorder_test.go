package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// run has the recorder work by itself until the test ends.
func (l lab) run(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return l.Run(ctx) })
	t.Cleanup(func() {
		stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// saved waits until the recorder has committed all.
func (l lab) saved(t *testing.T) {
	t.Helper()
	done := make(chan struct{}) // closed after the commit
	l.add(state.Change{Meta: map[string][]byte{"test": []byte("x")}}, func() { close(done) })
	testhost.Eventually(t, "saved", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}

func TestDamageWhileRunning(t *testing.T) {
	l := newLab(t)
	told := make(chan string, 1)
	l.told = func(text string, _ []state.Record) { told <- text }
	l.run(t)
	l.add(state.Change{
		Positions: map[string][]byte{"kmsg": []byte("1"), "journal": []byte("2")}, Tracker: []byte(`{"seq":1}`),
		Steps: []state.Record{{ID: "s1", JSON: []byte("1")}, {ID: "s2", JSON: []byte("2")}}, Events: events(0, savedEvents+7),
	}, nil)
	l.saved(t)
	<-told // of the first opening, which nobody but an agent's start takes for granted
	if err := os.Truncate(l.path, 0); err != nil {
		t.Fatal(err)
	}
	l.add(state.Change{
		Positions: map[string][]byte{"kmsg": []byte("3")}, Steps: []state.Record{{ID: "s1", JSON: []byte("4")}, {ID: "s3", JSON: []byte("5")}},
		Events: []notify.Outgoing{outgoing("last", remediate.EventIncidentOpened)},
	}, nil)
	text := <-told
	for _, want := range []string{"found damaged", "set aside as " + l.path + ".damaged-", "1000 events were written again", "7 that only that file held are lost"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
	l.saved(t)
	if n := l.queue.count(); n != (books{Events: savedEvents + 1, Dropped: 7}) {
		t.Errorf("%+v", n)
	}
	if problem, _ := l.health(); problem != "" {
		t.Errorf("problem %q", problem)
	}
	snap := l.snapshot(t)
	if string(snap.Positions["kmsg"]) != "3" || string(snap.Positions["journal"]) != "2" || string(snap.Tracker) != `{"seq":1}` {
		t.Errorf("%v %s", snap.Positions, snap.Tracker)
	}
	if want := []state.Record{{ID: "s1", JSON: []byte("4")}, {ID: "s2", JSON: []byte("2")}, {ID: "s3", JSON: []byte("5")}}; !slices.EqualFunc(
		snap.Steps, want, func(a, b state.Record) bool { return a.ID == b.ID && string(a.JSON) == string(b.JSON) }) {
		t.Errorf("steps %s", snap.Steps)
	}
	if ids := l.sent(t); len(ids) != savedEvents+1 || ids[0] != "7" || ids[savedEvents] != "last" {
		t.Errorf("%d events, from %s to %s", len(ids), ids[0], ids[len(ids)-1])
	}
}

func (l lab) snapshot(t *testing.T) (snap state.Snapshot) {
	t.Helper()
	if err := l.disk.within(10*diskSlow, func() (err error) {
		snap, err = l.disk.store.Load().Load()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return snap
}

// A file that could not be opened at the start holds an earlier run's steps and events.
func TestOpenedLater(t *testing.T) {
	l := newLab(t)
	before, _, err := state.Open(l.path, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.Commit(state.Change{
		Steps: []state.Record{{ID: "old", JSON: []byte("{}")}}, Events: events(0, 2),
		Tracker:   []byte(`{"open":[{"incident_id":"i1"},{"incident_id":"i2"}]}`),
		Positions: map[string][]byte{"kmsg": []byte("1"), "gone": []byte("2")},
	}); err != nil {
		t.Fatal(err)
	}
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	aside := l.path + ".away"
	if err := os.Rename(l.path, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(l.path, 0o700); err != nil { // nothing can be opened there
		t.Fatal(err)
	}
	var earlier []state.Record
	var text string
	l.told = func(said string, steps []state.Record) { text, earlier = said, steps }
	l.add(state.Change{
		Steps: []state.Record{{ID: "new", JSON: []byte("{}")}}, Events: events(2, 4), Tracker: []byte(`{"open":[{"incident_id":"i2"}]}`),
		Positions: map[string][]byte{"kmsg": []byte("3")},
	}, nil)
	if l.work(context.Background()) {
		t.Fatal("saved in a directory")
	}
	wantIDs(t, "without a file", l.sent(t), "2", "3")
	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, l.path); err != nil {
		t.Fatal(err)
	}
	if !l.work(context.Background()) {
		t.Fatal("not saved")
	}
	if len(earlier) != 1 || earlier[0].ID != "old" || !strings.Contains(text, "could not be opened at the start") ||
		!strings.Contains(text, "1 incidents that were open") || !strings.Contains(text, "what 1 sources had behind") {
		t.Errorf("%v, %q", earlier, text)
	}
	snap := l.snapshot(t)
	if len(snap.Steps) != 2 || snap.Steps[0].ID != "old" || snap.Steps[1].ID != "new" || string(snap.Positions["kmsg"]) != "3" {
		t.Errorf("%+v", snap)
	}
	wantIDs(t, "what the file held", l.sent(t), "0", "1")
}

func TestJobsDoNotWaitForTheDisk(t *testing.T) {
	l := newLab(t)
	l.run(t)
	l.disk.turn <- struct{}{}
	defer func() { <-l.disk.turn }()
	l.add(state.Change{Events: events(0, 1)}, nil)
	var ran atomic.Bool
	l.do(func() { ran.Store(true) })
	testhost.Eventually(t, "the job is done", ran.Load)
}

func TestReadOnlyAndWritableAgain(t *testing.T) {
	testhost.NeedRoot(t)
	l := newLab(t)
	l.add(state.Change{Events: events(0, 3)}, nil)
	l.work(context.Background())
	if err := l.disk.close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(l.path)
	remount := bindMount(t, dir)
	remount(true)
	l.add(state.Change{Events: events(3, 5)}, nil)
	if l.work(context.Background()) {
		t.Fatal("saved on a read-only file system")
	}
	if problem, _ := l.health(); !strings.Contains(problem, "read-only") {
		t.Errorf("problem %q", problem)
	}
	wantIDs(t, "the file's, then memory's", l.sent(t), "0", "1", "2", "3", "4")
	wantIDs(t, "again", l.sent(t))
	remount(false)
	if !l.work(context.Background()) {
		problem, _ := l.health()
		t.Fatalf("not saved: %s", problem)
	}
	wantIDs(t, "on disk", l.left(t))
}

// A disk that is slow again and again is said once, not at each commit.
func TestSlowDiskIsSaidOnce(t *testing.T) {
	l := newLab(t)
	core, said := observer.New(zap.InfoLevel)
	l.log = zap.New(core)
	for i := range 3 {
		l.disk.turn <- struct{}{}
		l.add(state.Change{Events: events(i, i+1)}, nil)
		if l.work(context.Background()) {
			t.Fatal("committed on a disk that hangs")
		}
		wantIDs(t, "meanwhile", l.sent(t), fmt.Sprint(i))
		<-l.disk.turn
		if !l.work(context.Background()) {
			t.Fatal("not committed")
		}
	}
	if n, m := said.FilterMessage("state not saved").Len(), said.FilterMessage("state saved again").Len(); n != 1 || m != 1 {
		t.Errorf("said %d times that it is not saved, %d times that it is again", n, m)
	}
	if n := l.queue.count(); n.Unsaved != 0 || n.Dropped != 0 {
		t.Errorf("%+v", n)
	}
}
