package remediate

import (
	"strings"
	"testing"
	"time"
)

// persistentOf is a quarrel of three hours with somebody who lowers the limit half a minute after each step, to another value
// each time, of a table that refuses all the time. who tells the writer of the n-th change. It also returns the times of the
// steps against that.
func persistentOf(t *testing.T, pause time.Duration, who func(n int) Writer) (*quarrel, []time.Time) {
	q := &quarrel{script: play(t), p: allowed()}
	q.p.ForeignPause, q.p.StepsPerHour = pause, 1000
	q.cfg.ForeignPause, q.limit = pause, 4000
	q.tr = NewTracker(q.cfg, TrackerState{})
	q.read(host, 100, 0, 0)
	var against []time.Time
	n := 0
	for at := 30 * time.Second; at < 3*time.Hour; at += 30 * time.Second {
		q.at(at)
		if old := q.limit; n == 0 || old >= 2000 {
			n++
			q.lower(1000 + uint64(n))
			q.tr.Wrote(LimitChange{Old: old, New: q.limit}, who(n))
		}
		if at == time.Hour {
			q.restart("b1")
			q.read(host, 100, q.drops, 0)
		}
		from := q.limit
		if q.refuse().decide() == ReasonFull && from < 2000 {
			against = append(against, q.now)
		}
	}
	return q, against
}

// TestOneWriterManyValues: who lowers the limit to another value each time is not fought either.
func TestOneWriterManyValues(t *testing.T) {
	line := Writer{WriterSysctl, "/etc/sysctl.d/50-db.conf:3"}
	for _, c := range []struct {
		name string
		who  func(n int) Writer
		most int // within an hour
		said string
	}{
		{"a line of a file", func(int) Writer { return line }, mostReraises,
			"raised again 2 times within the hour, which is enough: change or remove /etc/sysctl.d/50-db.conf:3"},
		{"nobody known", func(int) Writer { return Writer{} }, mostReraises,
			"raised again 2 times within the hour, which is enough: ask who sets it, or take the step with ctwarden raise --to N"},
		{"two in turn", func(n int) Writer {
			if n%2 == 0 {
				return line
			}
			return Writer{WriterTuned, "/etc/tuned/db/tuned.conf:9"}
		}, 2 * mostReraises, "raised again 2 times within the hour, which is enough: change"},
	} {
		for _, pause := range []time.Duration{time.Minute, 10 * time.Minute} {
			t.Run(c.name+", "+pause.String(), func(t *testing.T) {
				q, against := persistentOf(t, pause, c.who)
				for i, at := range against {
					if i >= c.most && at.Sub(against[i-c.most]) < time.Hour {
						t.Errorf("%d steps within the hour up to %s", c.most+1, at.Sub(noon))
					}
				}
				if n := len(against); n < 2*c.most || n > 3*c.most {
					t.Errorf("%d steps in three hours; want %d in each", n, c.most)
				}
				if !strings.Contains(q.said(), c.said) {
					t.Errorf("said %q; want %q", q.said(), c.said)
				}
			})
		}
	}
}

// TestWriterFoundAfterTheStep: who lowered the limit is looked up aside, so that a step may come before the answer.
func TestWriterFoundAfterTheStep(t *testing.T) {
	q := disputed(t)
	w := Writer{WriterSysctl, "/etc/sysctl.d/50-db.conf:3"}
	q.at(minutes(11)).refuse().decides(ReasonFull)
	q.tr.Wrote(LimitChange{Old: 4000, New: 1000}, w)
	q.at(minutes(12)).lower(900)
	q.tr.Wrote(LimitChange{Old: 2000, New: 900}, w)
	if f := q.tr.Foreign(q.now); f.Against != 1 {
		t.Errorf("%+v", f)
	}
}

// TestRaisesByOthersAreNoLowerings: steps from where others have raised the limit to count for that value alone.
func TestRaisesByOthersAreNoLowerings(t *testing.T) {
	q := &quarrel{script: play(t), p: allowed()}
	q.cfg.ForeignPause, q.p.Step, q.p.MaxStep = q.p.ForeignPause, 1.1, 1.1
	q.tr = NewTracker(q.cfg, TrackerState{})
	q.read(host, 100, 0, 0)
	for i := range mostReraises + 2 {
		q.at(minutes(float64(i + 1))).lower(q.limit + 100)
		q.refuse().decides(ReasonFull)
	}
	if f := q.tr.Foreign(q.now); f.Against != 0 {
		t.Errorf("%+v", f)
	}
}
