package oncall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// repeating is a desk whose sender wants to hear of what is open each minute, and of what is over for five.
func repeating(t *testing.T, f func(d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(newDesk(t, &scripted{begun: time.Now(), every: time.Minute, after: 5 * time.Minute}))
	})
}

func TestRepeat(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		d.submit("t1 a")
		time.Sleep(150 * time.Second)
		d.submit("u2 a")
		time.Sleep(130 * time.Second)
		if s := d.Status(); s.Open != 1 || s.Repeated != 4 || s.Delivered != 2 {
			t.Errorf("status %+v", s)
		}
		d.submit("r3 a")
		time.Sleep(time.Hour)
		d.wantSent("t1@0", "t1@60", "t1@120", "u2@150", "u2@210", "u2@270", "r3@280", "r3@340", "r3@400", "r3@460", "r3@520")
		if s := d.Status(); s.Open != 0 || d.kept() != 0 {
			t.Errorf("status %+v, %d kept", s, d.kept())
		}
		d.wantOutcomes("t1 delivered 1", "u2 delivered 1", "r3 delivered 1")
	})
}

// TestRepeatOverAnOutage: repeats go on while the other end is away, at least as often as it wants to hear, and what is new
// goes before them.
func TestRepeatOverAnOutage(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		d.submit("t1 a")
		synctest.Wait()
		d.s.answers(away)
		time.Sleep(10 * time.Minute)
		d.submit("t2 b")
		d.s.answers(nil)
		begun := time.Now()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		seen := map[string]time.Duration{}
		for _, text := range d.s.got(true) {
			var id string
			var at float64
			if _, err := fmt.Sscanf(text, "%2s@%f", &id, &at); err != nil {
				t.Fatal(err)
			}
			if since := time.Duration(at)*time.Second - begun.Sub(d.s.begun); since >= 0 && seen[id] == 0 {
				seen[id] = since + 1
			}
		}
		if len(seen) != 2 || seen["t2"] > lastGate+lastGate/4+time.Second || seen["t1"] > 75*time.Second {
			t.Errorf("heard again after %v", seen)
		}
		if s := d.Status(); s.Dead != 0 || s.Problem != "" || s.Open != 2 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestRepeatRefusedForGood: a repeat is no dead letter, and is told again when it is due.
func TestRepeatRefusedForGood(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		d.submit("t1 a")
		synctest.Wait()
		d.s.answers(func(context.Context, Notification) error { return permanent("no") })
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if s := d.Status(); s.Dead != 0 || s.Open != 1 || s.Problem != "no" {
			t.Errorf("status %+v", s)
		}
		d.s.answers(nil)
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if s := d.Status(); s.Problem != "" || s.Repeated == 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestRepeatEndsWithADeadResolve: what nobody can be told is over must not be told as open for ever.
func TestRepeatEndsWithADeadResolve(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		d.submit("t1 a")
		synctest.Wait()
		d.s.answers(func(context.Context, Notification) error { return permanent("no") })
		d.submit("r2 a")
		time.Sleep(time.Hour)
		d.wantSent("t1", "r2")
		d.wantOutcomes("t1 delivered 1", "r2 dead 1")
	})
}

func TestKeep(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		for range 2 { // the second changes nothing
			if err := d.Keep(noteOf("t1 a")); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Keep(noteOf("r2 b")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(65 * time.Second)
		if s := d.Status(); s.Open != 1 || s.Delivered != 0 || s.Repeated != 4 {
			t.Errorf("status %+v", s)
		}
		time.Sleep(10 * time.Minute)
		if d.kept() != 1 {
			t.Errorf("%d kept", d.kept())
		}
		d.wantOutcomes()
	})
	inBubble(t, func(d *desk) {
		d.run()
		if err := d.Keep(noteOf("t1 a")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		d.wantSent() // this sender forgets nothing
	})
}

func TestKeepIsBounded(t *testing.T) {
	repeating(t, func(d *desk) {
		for i := range maxHeld {
			if err := d.Keep(noteOf(fmt.Sprintf("t%d k%d", i, i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Keep(noteOf("t1 other")); !errors.Is(err, ErrFull) {
			t.Errorf("got %v", err)
		}
		if err := d.Submit(noteOf("t1 other"), nil); !errors.Is(err, ErrFull) {
			t.Errorf("got %v", err)
		}
		d.submit("r1 k7")
	})
}

// TestRepeatTogether: what is open is told again in one attempt, whenever it began.
func TestRepeatTogether(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		for i := range 40 {
			d.submit(fmt.Sprintf("t%d k%d", i, i))
			time.Sleep(time.Second / 10)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		d.s.mu.Lock()
		defer d.s.mu.Unlock()
		if len(d.s.together) != 3 || d.s.together[0] != 40 || d.s.together[2] != 40 {
			t.Errorf("attempts of %v", d.s.together)
		}
	})
}

// TestRepeatsAreNotSpoiltByOne: of 500 troubles that are told again together, one has the whole refused, as a bad request or as
// too large. The others are told all the same, and the one alone, until it is taken.
func TestRepeatsAreNotSpoiltByOne(t *testing.T) {
	for _, code := range []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			const all = 500
			var mu sync.Mutex
			bad, posts, last := false, 0, map[string]time.Time{}
			r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				body, err := io.ReadAll(req.Body)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if posts++; bad && bytes.Contains(body, []byte(`"key-77"`)) {
					w.WriteHeader(code)
					return
				}
				alerts, err := checkAlerts(body)
				if err != nil {
					t.Error(err)
				}
				for _, a := range alerts {
					last[a.Labels[groupLabel]] = time.Now()
				}
			}))
			defer r.Close()
			q, err := Open(Config{Name: "am", PerMinute: 60_000, Alertmanager: &AlertmanagerConfig{URLs: []string{r.URL}, Resend: 5 * time.Second}}, Options{}, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			for n := range all {
				if err := q.Keep(noteOf(fmt.Sprintf("t%d key-%d", n, n))); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1) // has room for the one result
			go func() { ended <- q.Run(ctx) }()
			told := func() (n int) {
				mu.Lock()
				defer mu.Unlock()
				return len(last)
			}
			testhost.Eventually(t, "all are told", func() bool { return told() == all })
			mu.Lock()
			bad, posts, last = true, 0, map[string]time.Time{}
			mu.Unlock()
			testhost.Eventually(t, "the others are told again", func() bool { return told() == all-1 })
			testhost.Eventually(t, "the one that spoils it is known", func() bool { return q.Status().Refused == 1 })
			mu.Lock()
			if posts > 40 { // nine halvings, and what came due meanwhile
				t.Errorf("it took %d posts", posts)
			}
			bad = false
			mu.Unlock()
			testhost.Eventually(t, "it is taken in the end", func() bool { return told() == all })
			testhost.Eventually(t, "all is well", func() bool { s := q.Status(); return s.Refused == 0 && s.Problem == "" && s.Dead == 0 && s.Open == all })
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRepeatsAllRefused: where everything is refused, it is the other end that is to blame, and nothing is given up for a day.
func TestRepeatsAllRefused(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		for i := range 40 {
			d.submit(fmt.Sprintf("t%d k%d", i, i))
		}
		synctest.Wait()
		d.s.answers(func(context.Context, Notification) error { return permanent("no") })
		time.Sleep(time.Hour)
		if s := d.Status(); s.Dead != 0 || s.Open != 40 || s.Problem != "no" {
			t.Errorf("status %+v", s)
		}
		d.s.mu.Lock()
		d.s.together = nil
		d.s.mu.Unlock()
		d.s.answers(nil)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if s := d.Status(); s.Dead != 0 || s.Problem != "" || s.Open != 40 {
			t.Errorf("status %+v", s)
		}
		d.s.mu.Lock()
		if n := len(d.s.together); d.s.together[n-1] != 40 {
			t.Errorf("attempts of %v", d.s.together)
		}
		d.s.mu.Unlock()
		d.s.answers(func(context.Context, Notification) error { return permanent("no") })
		time.Sleep(giveUpAfter + time.Hour)
		if s := d.Status(); s.Dead != 0 || s.Open != 40 || s.Refused != 0 {
			t.Errorf("after a day %+v", s)
		}
	})
}

// TestRepeatsHalfRefused: a balancer with one bad server of two refuses every other attempt. Nothing that is open is forgotten.
func TestRepeatsHalfRefused(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		for i := range 20 {
			d.submit(fmt.Sprintf("t%d k%d", i, i))
		}
		synctest.Wait()
		d.s.answers(func(context.Context, Notification) error {
			d.s.mu.Lock()
			defer d.s.mu.Unlock()
			if len(d.s.together)%2 == 0 {
				return permanent("400")
			}
			return nil
		})
		time.Sleep(2 * giveUpAfter)
		synctest.Wait()
		if s := d.Status(); s.Open != 20 || s.Dead != 0 || s.Repeated < 20*24*60/2 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestRepeatOneRefused: one that is refused for good is told alone once a period, said once, and shown until it gets through.
func TestRepeatOneRefused(t *testing.T) {
	repeating(t, func(d *desk) {
		logged, logs := observer.New(zap.WarnLevel)
		d.Queue.log = zap.New(logged)
		d.run()
		for i := range 4 {
			d.submit(fmt.Sprintf("t%d k%d", i, i))
		}
		synctest.Wait()
		asked := 0
		d.s.answers(func(_ context.Context, n Notification) error {
			if n.Key == "k2" {
				asked++
				return permanent("400")
			}
			return nil
		})
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if s := d.Status(); s.Open != 4 || s.Refused != 1 || s.Dead != 0 || !strings.Contains(s.Problem, "refused, and told alone: 400") || s.Since.IsZero() {
			t.Errorf("status %+v", s)
		}
		if asked < 55 || asked > 65 {
			t.Errorf("asked %d times in an hour", asked)
		}
		if n := logs.FilterMessage("repeat_refused").Len(); n != 1 || logs.Len() > 5 {
			t.Errorf("said %d times, of %d lines", n, logs.Len())
		}
		d.s.answers(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := d.Status(); s.Open != 4 || s.Refused != 0 || s.Problem != "" {
			t.Errorf("status %+v", s)
		}
	})
}

// TestRepeatsAfterARefusalOfAll: where everything was refused for most of an hour, each was found alone. Once the other end takes
// something again, the rest goes together after a few attempts, not one by one at the sender's rate.
func TestRepeatsAfterARefusalOfAll(t *testing.T) { afterARefusalOfAll(t, func(*desk) {}) }

// TestRepeatsAfterARefusalOfAllButOne is the same where one got through in between: the others seem to be to blame then.
func TestRepeatsAfterARefusalOfAllButOne(t *testing.T) {
	afterARefusalOfAll(t, func(d *desk) {
		var taken atomic.Bool
		d.s.answers(func(context.Context, Notification) error {
			if taken.CompareAndSwap(false, true) {
				return nil
			}
			return permanent("no")
		})
		time.Sleep(40 * time.Minute)
		synctest.Wait()
		if s := d.Status(); s.Refused < 100 {
			t.Fatalf("there is nothing to show: %+v", s)
		}
	})
}

func afterARefusalOfAll(t *testing.T, before func(*desk)) {
	t.Helper()
	const all = 600
	repeating(t, func(d *desk) {
		for i := range all {
			if err := d.Keep(noteOf(fmt.Sprintf("t%d k%d", i, i))); err != nil {
				t.Fatal(err)
			}
		}
		d.s.answers(func(context.Context, Notification) error { return permanent("no") })
		d.run()
		time.Sleep(40 * time.Minute)
		synctest.Wait()
		before(d)
		d.s.mu.Lock()
		if n := len(d.s.together); d.s.together[n-1] != 1 {
			t.Fatalf("at last attempts of %d: there is nothing to show", d.s.together[n-1])
		}
		d.s.together, d.s.sent = nil, nil
		d.s.mu.Unlock()
		d.limit.SetLimit(1) // a second, with five at once, as with per_minute: 60
		d.limit.SetBurst(5)
		d.s.answers(nil)
		time.Sleep(90 * time.Second) // all are due again within a minute
		synctest.Wait()
		seen := map[string]bool{}
		for _, id := range d.s.got(false) {
			seen[id] = true
		}
		if s := d.Status(); len(seen) != all || s.Refused != 0 || s.Problem != "" || s.Open != all {
			t.Errorf("%d of %d are told again, by attempts of %v; status %+v", len(seen), all, d.s.together, s)
		}
	})
}
