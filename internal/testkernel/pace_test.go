package testkernel

import (
	"testing"
	"time"
)

func TestFlowsFollowThePace(t *testing.T) {
	Hold(t)
	ns := Scratch(t)
	// Nothing for a tenth of a second, then all at once.
	late := func(since time.Duration) float64 {
		if since < 100*time.Millisecond {
			return 0
		}
		return 1000
	}
	for _, c := range []struct {
		name    string
		senders int
	}{{"one sender", 1}, {"two senders", 2}} {
		t.Run(c.name, func(t *testing.T) {
			result, err := ns.Send(t.Context(), Traffic{Flows: 1000, Pace: late, Senders: c.senders})
			if err != nil {
				t.Fatal(err)
			}
			if result.Sent != 1000 || result.Took < 100*time.Millisecond || !result.FirstRefused.IsZero() {
				t.Errorf("%+v, want all 1000 sent, after 100 ms, none refused", result)
			}
		})
	}
}

func TestSendEndsWhereItIsToldTo(t *testing.T) {
	Hold(t)
	ns := Scratch(t)
	calls := 0
	until := func() bool { calls++; return calls == 3 }
	result, err := ns.Send(t.Context(), Traffic{Flows: 1000, Senders: 1, Batch: 8, Until: until})
	if err != nil || result.Sent != 24 {
		t.Errorf("%+v (%v), want three batches of 8", result, err)
	}
	wantCount(t, ns, 24)
}

func TestTheFirstRefusalHasItsTime(t *testing.T) {
	lock := Hold(t)
	ns := Scratch(t)
	if err := lock.SetMax(2000); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	result, err := ns.Send(t.Context(), Traffic{Kind: Established, Flows: 4000})
	if err != nil {
		t.Fatal(err)
	}
	if result.Refused == 0 || result.FirstRefused.Before(before) || result.FirstRefused.After(before.Add(result.Took)) {
		t.Errorf("%+v, begun at %v: want a first refusal in between", result, before)
	}
}

func TestTheClockOfThePaceStandsStillWhileTheThreadWaits(t *testing.T) {
	begin := time.Now()
	c := clock{begin: begin}
	for _, step := range []struct {
		name        string
		after, want time.Duration // since the beginning
	}{
		{"in time", 5 * time.Millisecond, 5 * time.Millisecond},
		{"late, but within the backlog", 15 * time.Millisecond, 15 * time.Millisecond},
		{"half a second late", 515 * time.Millisecond, 25 * time.Millisecond},
		{"in time again", 516 * time.Millisecond, 26 * time.Millisecond},
	} {
		if got := c.since(begin.Add(step.after)); got != step.want {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
	}
}
