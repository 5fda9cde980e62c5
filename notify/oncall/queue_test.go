package oncall

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

func TestQueueOrder(t *testing.T) {
	for _, c := range []struct {
		name              string
		submit            []string
		sent, outcomes    []string
		waitingBeforehand int
	}{
		{"one trouble in order", []string{"t1 a", "k2 a", "r3 a"}, []string{"t1", "r3"}, []string{"k2 replaced 0", "t1 delivered 1", "r3 delivered 1"}, 2},
		{"an acknowledgement is kept beside an update", []string{"t1 a", "k2 a", "u3 a"}, []string{"t1", "k2", "u3"},
			[]string{"t1 delivered 1", "k2 delivered 1", "u3 delivered 1"}, 3},
		{"the last update of several", []string{"t1 a", "u2 a", "u3 a", "u4 a"}, []string{"t1", "u4"},
			[]string{"u2 replaced 0", "u3 replaced 0", "t1 delivered 1", "u4 delivered 1"}, 2},
		{"updates of others stay", []string{"u1 a", "u2 b"}, []string{"u1", "u2"}, []string{"u1 delivered 1", "u2 delivered 1"}, 2},
		{"a resolve replaces no trigger", []string{"t1 a", "u2 a", "r3 a"}, []string{"t1", "r3"},
			[]string{"u2 replaced 0", "t1 delivered 1", "r3 delivered 1"}, 2},
		{"a trouble that comes back", []string{"t1 a", "r2 a", "t3 a", "r4 a"}, []string{"t1", "r2", "t3", "r4"},
			[]string{"t1 delivered 1", "r2 delivered 1", "t3 delivered 1", "r4 delivered 1"}, 4},
		{"critical triggers first", []string{"u1 a", "r2 b", "T3 c", "t4 d"}, []string{"t4", "T3", "r2", "u1"},
			[]string{"t4 delivered 1", "T3 delivered 1", "r2 delivered 1", "u1 delivered 1"}, 4},
		{"but never before what is of the same trouble", []string{"u1 a", "t2 a", "u3 b"}, []string{"u1", "t2", "u3"},
			[]string{"u1 delivered 1", "t2 delivered 1", "u3 delivered 1"}, 3},
		{"the same one twice", []string{"t1 a", "t1 a"}, []string{"t1"}, []string{"t1 delivered 1"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(d *desk) {
				d.submit(c.submit...)
				if got := d.Status().Waiting; got != c.waitingBeforehand {
					t.Errorf("%d wait, want %d", got, c.waitingBeforehand)
				}
				d.run()
				d.wantSent(c.sent...)
				d.wantOutcomes(c.outcomes...)
				if s := d.Status(); s.Waiting != 0 || s.Problem != "" || !s.Oldest.IsZero() {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

// TestQueueTellsTheLastWhoAsked: one that is handed in again, since its outcome was lost, has its outcome told to who did
// that.
func TestQueueTellsTheLastWhoAsked(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.s.answers(away)
		d.run()
		if err := d.Submit(noteOf("t1 a"), func(Outcome) { t.Error("the first who asked is told") }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		d.submit("t1 a")
		d.s.answers(nil)
		time.Sleep(10 * time.Minute)
		if got := d.ended(); len(got) != 1 || !strings.HasPrefix(got[0], "t1 delivered ") {
			t.Errorf("outcomes %v", got)
		}
	})
}

// TestQueueReplacesNothingOnItsWay: an update that is being sent may have arrived.
func TestQueueReplacesNothingOnItsWay(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.s.answers(func(ctx context.Context, n Notification) error {
			time.Sleep(5 * time.Second)
			return nil
		})
		d.run()
		d.submit("u1 a")
		synctest.Wait()
		d.submit("u2 a", "u3 a", "r4 a")
		time.Sleep(time.Minute)
		d.wantSent("u1", "r4")
		d.wantOutcomes("u2 replaced 0", "u3 replaced 0", "u1 delivered 1", "r4 delivered 1")
	})
}

// TestQueueRetries has the times of the attempts while nobody answers: 1 s, 2 s, 4 s and so on up to 4 minutes, each up to
// a quarter longer.
func TestQueueRetries(t *testing.T) {
	inBubble(t, func(d *desk) {
		var at []time.Time
		d.s.answers(func(ctx context.Context, n Notification) error {
			at = append(at, time.Now())
			return away(ctx, n)
		})
		d.run()
		d.submit("t1 a")
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		want := time.Second
		for i := 1; i < len(at); i++ {
			if got := at[i].Sub(at[i-1]); got < want || got > want+want/4+time.Second {
				t.Errorf("attempt %d came after %v, want %v to %v", i+1, got, want, want+want/4)
			}
			want = min(2*want, lastRetry)
		}
		if len(at) < 13 {
			t.Errorf("%d attempts in half an hour", len(at))
		}
		s := d.Status()
		if s.Retries != uint64(len(at)) || s.Waiting != 1 || s.Problem != "nobody answers" || s.NextTry.IsZero() || s.Delivered != 0 {
			t.Errorf("status %+v", s)
		}
		d.s.answers(nil)
		time.Sleep(6 * time.Minute)
		d.wantOutcomes(fmt.Sprintf("t1 delivered %d", len(at)+1))
	})
}

func TestQueueGivesUpAfterADay(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.s.answers(away)
		d.run()
		d.submit("t1 a")
		time.Sleep(23*time.Hour + 50*time.Minute)
		d.wantOutcomes()
		time.Sleep(20 * time.Minute)
		if got := d.ended(); len(got) != 1 || !strings.HasPrefix(got[0], "t1 dead ") {
			t.Fatalf("outcomes %v", got)
		}
		if want := "given up after 24h0m0s: nobody answers"; d.errOf("t1") != want {
			t.Errorf("got %q, want %q", d.errOf("t1"), want)
		}
		if s := d.Status(); s.Dead != 1 || s.Waiting != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestQueueRefusedForGood(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.s.answers(func(_ context.Context, n Notification) error {
			if n.ID == "t1" {
				return permanent("invalid_payload")
			}
			return nil
		})
		d.run()
		d.submit("t1 a", "u2 a")
		d.wantSent("t1", "u2")
		d.wantOutcomes("t1 dead 1", "u2 delivered 1")
		if d.errOf("t1") != "invalid_payload" || d.Status().Dead != 1 {
			t.Errorf("%q, %+v", d.errOf("t1"), d.Status())
		}
	})
}

// TestQueueHonoursRetryAfter: nothing at all is sent before the time that the other end has asked for, up to an hour.
func TestQueueHonoursRetryAfter(t *testing.T) {
	for _, c := range []struct {
		name  string
		asked time.Duration
		want  string
	}{
		{"40 seconds", 40 * time.Second, "t1@40"},
		{"a day is an hour", 24 * time.Hour, "t1@3600"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(d *desk) {
				d.s.answers(func(context.Context, Notification) error { return retryAfter(c.asked, "slow down") })
				d.run()
				d.submit("t1 a")
				synctest.Wait()
				d.s.answers(nil)
				d.submit("t2 b")
				time.Sleep(2 * time.Hour)
				d.wantSent("t1@0", c.want, strings.Replace(c.want, "t1", "t2", 1))
			})
		})
	}
}

// TestQueueOneThatFailsHoldsUpNoOther: the server dislikes one notification and says that it may pass.
func TestQueueOneThatFailsHoldsUpNoOther(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.s.answers(func(ctx context.Context, n Notification) error {
			if n.Key == "poison" {
				return away(ctx, n)
			}
			return nil
		})
		d.run()
		d.submit("t1 poison")
		time.Sleep(10 * time.Minute)
		for i := range 20 {
			d.submit(fmt.Sprintf("t%d k%d", 10+i, i))
			begun := time.Now()
			for len(d.ended()) <= i {
				time.Sleep(100 * time.Millisecond)
			}
			if took := time.Since(begun); took > lastGate+lastGate/4+time.Second {
				t.Fatalf("notification %d waited %v", i, took)
			}
		}
	})
}

// TestQueueAfterAnOutage: what waits for minutes yet goes out as soon as one got through.
func TestQueueAfterAnOutage(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.s.answers(away)
		d.run()
		for i := range 5 {
			d.submit(fmt.Sprintf("t%d k%d", i, i))
		}
		time.Sleep(time.Hour)
		d.s.answers(nil)
		for len(d.ended()) == 0 {
			time.Sleep(time.Second)
		}
		if got := d.ended(); len(got) != 5 {
			t.Errorf("outcomes %v", got)
		}
		if s := d.Status(); s.Problem != "" || !s.NextTry.IsZero() {
			t.Errorf("status %+v", s)
		}
	})
}

func TestQueueRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{begun: time.Now()}
		d := newDesk(t, s)
		d.Queue = NewQueue(Config{Name: "slack", Slack: &SlackConfig{}}, s, zap.NewNop())
		for i := range 20 {
			d.submit(fmt.Sprintf("t%d k%d", i, i))
		}
		d.run()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprintf("t%d@%d", i, max(0, i-4))) // five at once, then one a second
		}
		d.wantSent(want...)
	})
}

func TestQueueFull(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.s.answers(away)
		for i := range maxHeld {
			d.submit(fmt.Sprintf("t%d k%d", i, i))
		}
		for _, c := range []struct {
			text string
			want error
		}{
			{"t1 other", ErrFull}, {"u2 k5", ErrFull}, {"r3 other", ErrFull},
			{"r4 k5", nil},     // the end of what waits always comes in
			{"r5 k5", ErrFull}, // once
			{"t5 k5", nil},     // waits already
		} {
			if err := d.Submit(noteOf(c.text), d.done); !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", c.text, err, c.want)
			}
		}
		if got := d.Status().Waiting; got != maxHeld+1 {
			t.Errorf("%d wait", got)
		}
	})
}

func TestQueueFullOfOneTrouble(t *testing.T) {
	inBubble(t, func(d *desk) {
		for i := range maxPerKey {
			d.submit(fmt.Sprintf("t%d a", i))
		}
		if err := d.Submit(noteOf("t99 a"), nil); !errors.Is(err, ErrFull) {
			t.Errorf("got %v", err)
		}
		d.submit("t99 b", "r100 a")
	})
}

func TestQueueRefusesNonsense(t *testing.T) {
	d := newDesk(t, &scripted{})
	good := noteOf("t1 a")
	for _, c := range []struct {
		name   string
		change func(n *Notification)
		want   string
	}{
		{"no id", func(n *Notification) { n.ID = "" }, "no id or no key"},
		{"no key", func(n *Notification) { n.Key = "" }, "no id or no key"},
		{"a key too long", func(n *Notification) { n.Key = strings.Repeat("k", 256) }, "longer than 255"},
		{"no action", func(n *Notification) { n.Action = "shout" }, "shout is none"},
		{"no time", func(n *Notification) { n.At = time.Time{} }, "no time"},
		{"an end without a time", func(n *Notification) { n.Action = ActionResolve }, "when that was"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := good
			c.change(&n)
			for name, err := range map[string]error{"Submit": d.Submit(n, nil), "Keep": d.Keep(n)} {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: got %v, want %q", name, err, c.want)
				}
			}
		})
	}
}

// TestQueueEnds: what is under way gets two more seconds, and no outcome is told of what was cut off.
func TestQueueEnds(t *testing.T) {
	for _, c := range []struct {
		name     string
		takes    time.Duration
		outcomes []string
		within   time.Duration
	}{
		{"an attempt that comes to its end", time.Second, []string{"t1 delivered 1"}, time.Second},
		{"an attempt that hangs", time.Hour, nil, lastAttempt},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(d *desk) {
				d.s.answers(func(ctx context.Context, n Notification) error {
					select {
					case <-time.After(c.takes):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
				stop := d.run()
				d.submit("t1 a", "t2 b")
				synctest.Wait()
				begun := time.Now()
				stop()
				if took := time.Since(begun); took > c.within {
					t.Errorf("Run took %v to end", took)
				}
				d.wantOutcomes(c.outcomes...)
				if got := d.Status().Waiting; got != 2-len(c.outcomes) {
					t.Errorf("%d wait", got)
				}
			})
		})
	}
}

func TestQueuePartly(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.s.answers(func(context.Context, Notification) error { return &partial{errors.New("am2 was not told")} })
		d.run()
		d.submit("t1 a")
		d.wantOutcomes("t1 delivered 1")
		if s := d.Status(); d.errOf("t1") != "am2 was not told" || s.Problem != "am2 was not told" || s.Retries != 0 {
			t.Errorf("%q, %+v", d.errOf("t1"), s)
		}
	})
}

// TestMayNotSend: a queue that may not send keeps what waits, and sends it when it may again.
func TestMayNotSend(t *testing.T) {
	inBubble(t, func(d *desk) {
		var may atomic.Bool
		d.may = may.Load
		d.run()
		d.submit("t1 a")
		time.Sleep(time.Minute)
		d.wantSent()
		may.Store(true)
		time.Sleep(2 * mayNotRest)
		d.wantSent("t1")
	})
}
