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
			h := newScratch(t)
			h.put(t, "var/log/kern.log", "")
			h.cfg.Sources.Syslog, h.cfg.Sources.SyslogFiles = SwitchOn, []string{h.root + "/var/log/kern.log"}
			a, err := Open(h.cfg)
			if err != nil {
				t.Fatal(err)
			}
			a.patience = tt.patience
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			<-a.readyCh
			for _, fault := range tt.faults {
				fault(a)
			}
			cancel()
			err = <-done
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

// TestLeave: parts share one time, and one that ends in it is waited for.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		late, free := doneAfter(ctx, stopWithin)
		defer free()
		time.Sleep(time.Hour)
		cancel()
		begin, release := time.Now(), make(chan struct{})
		took := func(what string, err error, left bool, want time.Duration) {
			t.Helper()
			if errors.Is(err, errLeftBehind) != left || time.Since(begin) != want {
				t.Errorf("%s: %v after %v, want left behind %v after %v", what, err, time.Since(begin), left, want)
			}
		}
		took("in time", leave(late, "a", func() error { time.Sleep(3 * time.Second); return nil }), false, 3*time.Second)
		took("hangs", leave(late, "b", func() error { <-release; return nil }), true, stopWithin+lastLook)
		took("through already", leave(late, "c", func() error { return nil }), false, stopWithin+lastLook)
		took("hangs too", leave(late, "d", func() error { <-release; return nil }), true, stopWithin+2*lastLook)
		close(release)
	})
}
