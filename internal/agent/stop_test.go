package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestStopIsBoundedAsAWhole stops agents with parts that hang: Run comes back all the same, and names them.
func TestStopIsBoundedAsAWhole(t *testing.T) {
	freeze := func(a *Agent) { a.disk.turn <- struct{}{} } // as a call does that does not return
	hang := func(a *Agent) { a.recorder.do(func() { <-t.Context().Done() }) }
	tests := []struct {
		name     string
		faults   []func(*Agent)
		patience time.Duration
		left     []string // empty: a clean stop
	}{
		{"nothing hangs", nil, 0, nil},
		{"a frozen disk alone, within its own bound", []func(*Agent){freeze}, time.Minute, nil},
		{"a frozen disk and a job that hangs in it", []func(*Agent){freeze, hang}, 100 * time.Millisecond,
			[]string{"saving to state_dir", "saving what was acknowledged last"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, stop, done := runScratch(t, newScratch(t), tt.patience)
			for _, fault := range tt.faults {
				fault(a)
			}
			stop()
			err := <-done
			if (len(tt.left) == 0) != (err == nil) || err != nil && !errors.Is(err, errLeftBehind) {
				t.Errorf("%v, want an error: %v", err, len(tt.left) > 0)
			}
			for _, part := range tt.left {
				if err != nil && !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in %v", part, err)
				}
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestALoopLeftBehindKeepsWhatItUses has the loop in the middle of a reading when the time to stop is over. It goes on
// with the table's files, which are opened anew for each reading where somebody has closed them, while Close runs.
func TestALoopLeftBehindKeepsWhatItUses(t *testing.T) {
	a, stop, done := runScratch(t, newScratch(t), 100*time.Millisecond)
	reading, release := make(chan struct{}), make(chan struct{})
	failed := make(chan error, 1)
	a.calls <- func() {
		close(reading)
		<-release
		for range 200 {
			if _, err := a.table.Read(hostInode, true); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}
	<-reading
	stop()
	if err := <-done; !errors.Is(err, errLeftBehind) || !strings.Contains(err.Error(), "the loop") {
		t.Errorf("%v, want the loop left behind", err)
	}
	close(release)
	if err := a.Close(); err != nil { // the race detector sees whether it touches what the loop reads
		t.Error(err)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
	<-a.ended
	a.left.Store(false) // lets go of all, so that the test leaves nothing open
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// runScratch runs an agent and returns it when it is ready, with what stops it and what Run then returned.
func runScratch(t *testing.T, h scratch, patience time.Duration) (*Agent, context.CancelFunc, <-chan error) {
	t.Helper()
	h.put(t, "var/log/kern.log", "")
	h.cfg.Sources.Syslog, h.cfg.Sources.SyslogFiles = SwitchOn, []string{h.root + "/var/log/kern.log"}
	a, err := Open(t.Context(), h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	a.patience = patience
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	<-a.readyCh
	return a, stop, done
}

// TestLeave: parts share one time, and one that ends in it is waited for.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		late, free := doneAfter(ctx, stopWithin)
		defer free()
		elapse(time.Hour)
		cancel()
		begin, release := time.Now(), make(chan struct{})
		took := func(what string, err error, left bool, want time.Duration) {
			t.Helper()
			if errors.Is(err, errLeftBehind) != left || time.Since(begin) != want {
				t.Errorf("%s: %v after %v, want left behind %v after %v", what, err, time.Since(begin), left, want)
			}
		}
		took("in time", leave(late, "a", func() error { <-time.After(3 * time.Second); return nil }), false, 3*time.Second)
		took("hangs", leave(late, "b", func() error { <-release; return nil }), true, stopWithin+lastLook)
		took("through already", leave(late, "c", func() error { return nil }), false, stopWithin+lastLook)
		took("hangs too", leave(late, "d", func() error { <-release; return nil }), true, stopWithin+2*lastLook)
		close(release)
	})
}
