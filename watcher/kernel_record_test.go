package watcher

import (
	"testing"
	"time"
)

func TestLastStamp(t *testing.T) {
	const us = time.Microsecond
	for _, c := range []struct {
		name, lines string
		want        time.Duration // 0: none
	}{
		{"one", "2026-03-01T00:00:00.1+00:00 hv1 kernel: [   12.000345] eth0: up\n", 12000345 * us},
		{"the last of two", "h kernel: [1.000001] a\nh kernel: [2.000003] b\nh sshd[1]: c\n", 2000003 * us},
		{"long uptime with a caller", "Jan  4 23:14:44 h kernel: [20763743.334180][ T77] a\n", 20763743334180 * us},
		{"no stamp", "h kernel: eth0: up\n", 0},
		{"not a time", "h kernel: [Firmware Bug]: b\n", 0},
		{"no end", "h kernel: [12.000345", 0},
		{"not micro", "h kernel: [12.0003451] a\n", 0},
		{"too large", "h kernel: [99999999999.000345] a\n", 0},
		{"empty", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := lastStamp([]byte(c.lines))
			if got != c.want || ok != (c.want != 0) {
				t.Errorf("got %v %v, want %v", got, ok, c.want)
			}
		})
	}
}

func TestSeverityOf(t *testing.T) {
	for rec, want := range map[string]int{"4,9,1,-;a": 4, "30,9,1,-;a": 6, "0,9,1,-;a": 0, "x,1": SeverityUnknown, "": SeverityUnknown} {
		if got := severityOf([]byte(rec)); got != want {
			t.Errorf("%q: %d, want %d", rec, got, want)
		}
	}
}

// A source with nothing to say still shows that it lives, and names the last kernel records only.
func TestSenderShowsLife(t *testing.T) {
	now := time.Unix(1000, 0)
	out := make(chan Batch, 1)
	s := newSender(out, func() time.Time { return now }, "kmsg", "")
	s.up()
	for i := range MostKernel + 3 {
		s.kernel(KernelRecord{Mono: time.Duration(i)})
	}
	if err := s.tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b := <-out; len(b.Kernel) != MostKernel || b.Kernel[0].Mono != 3 || b.Kernel[MostKernel-1].Mono != MostKernel+2 {
		t.Errorf("kernel records %v", b.Kernel)
	}
	now = now.Add(BeatEvery - 1)
	if err := s.tick(t.Context()); err != nil || len(out) != 0 {
		t.Fatalf("%v: a sign of life too early", err)
	}
	now = now.Add(1)
	if err := s.tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b := <-out; len(b.Kernel) != 0 || b.Stats != (Stats{}) || b.State != nil {
		t.Errorf("a sign of life says %+v", b)
	}
}

// A record that claims to be from the future does not make all that follows look early.
func TestSenderBelievesNoFuture(t *testing.T) {
	now := time.Unix(1000, 0)
	s := newSender(make(chan Batch, 1), func() time.Time { return now }, "kmsg", "")
	s.last(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
	if !s.batch.Last.Equal(now) {
		t.Errorf("last record %v, want %v", s.batch.Last, now)
	}
}
