package agent

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/conntrack"
)

// a look is how long finding out who fills a table takes in a test, and what comes of it.
type look struct {
	takes time.Duration
	top   []remediate.Talker
	err   error
	begun []time.Time
	now   int // how many run
	most  int
}

// at has an agent look so.
func (l *look) at(t *testing.T, a *Agent) {
	a.talkers.sampler = func(inode uint64) (listTop, error) {
		if inode != hostInode {
			t.Errorf("a look at namespace %d", inode)
		}
		return func(uint64) ([]remediate.Talker, error) {
			l.begun = append(l.begun, time.Now())
			l.now++
			l.most = max(l.most, l.now)
			time.Sleep(l.takes)
			l.now--
			return l.top, l.err
		}, nil
	}
}

// goOn lets time pass, and the loop's turns in it, one each 50 ms.
func (a *Agent) goOn(d time.Duration) {
	for range d / (50 * time.Millisecond) {
		elapse(50 * time.Millisecond)
		a.sample()
		select {
		case found := <-a.talkers.found:
			a.takeTalkers(found)
		default:
		}
	}
}

// saidOf are the events of incidents since the last call, with who leads.
func (a *Agent) saidOf() (out []string) {
	for _, ev := range a.events {
		if i, ok := ev.Data.(remediate.Incident); ok {
			out = append(out, fmt.Sprintf("%s %v", ev.Type, i.Top))
		}
	}
	a.events = nil
	return out
}

// filled runs an agent in observe mode whose table has just become full.
func filled(t *testing.T, l *look, do func(t *testing.T, h scratch, a *Agent, said *observer.ObservedLogs)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newScratch(t)
		core, said := observer.New(zap.InfoLevel)
		h.cfg.Log, h.cfg.Policy.Mode, h.cfg.CloseAfter = zap.New(core), remediate.ModeObserve, 10*time.Second
		a := h.open(t)
		l.at(t, a)
		a.sample()
		h.table(t, 65536, 65536, 0)
		a.goOn(time.Second)
		do(t, h, a, said)
	})
}

func TestWhoFillsTheTableFollowsTheOpening(t *testing.T) {
	l := &look{takes: 40 * time.Millisecond, top: []remediate.Talker{{Address: "192.0.2.1", Entries: 60000}}}
	filled(t, l, func(t *testing.T, h scratch, a *Agent, _ *observer.ObservedLogs) {
		if got := a.saidOf(); !slices.Equal(got, []string{"incident.opened []", "incident.updated [{192.0.2.1 60000}]"}) {
			t.Errorf("told %q", got)
		}
		opened := a.tracker.Open()[0].OpenedAt
		if late := l.begun[0].Sub(opened); len(l.begun) != 1 || late < 100*time.Millisecond || late > 300*time.Millisecond {
			t.Errorf("%d looks, the first after %v", len(l.begun), late)
		}
		l.top[0].Entries = 59000
		h.table(t, 65536, 65536, 700) // it refuses
		a.goOn(time.Second)
		if got := a.saidOf(); len(l.begun) != 2 || !slices.Equal(got, []string{"incident.updated [{192.0.2.1 60000}]"}) {
			t.Errorf("%d looks, told %q", len(l.begun), got)
		}
		if s := a.status(); len(s.Incidents) != 1 || fmt.Sprint(s.Incidents[0].Top) != "[{192.0.2.1 59000}]" {
			t.Errorf("status %+v", s.Incidents)
		}
		a.goOn(29 * time.Second)
		l.top[0].Entries = 58000
		h.table(t, 1000, 65536, 700)
		a.goOn(15 * time.Second)
		if got := a.saidOf(); len(l.begun) != 3 || got[len(got)-1] != "incident.closed [{192.0.2.1 58000}]" {
			t.Errorf("%d looks, told %q", len(l.begun), got)
		}
	})
}

// A look that does not come back keeps neither the loop nor another look waiting: there is one at a time.
func TestALookThatHangsHoldsNothingUp(t *testing.T) {
	l := &look{takes: time.Hour, top: []remediate.Talker{{Address: "192.0.2.1", Entries: 60000}}}
	filled(t, l, func(t *testing.T, h scratch, a *Agent, _ *observer.ObservedLogs) {
		h.table(t, 65536, 65536, 700)
		begin := time.Now()
		a.goOn(time.Minute)
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("a minute of turns took %v", took)
		}
		if len(l.begun) != 1 || l.most != 1 || a.tracker.Open()[0].Drops != 700 {
			t.Errorf("%d looks, %d at once, incident %+v", len(l.begun), l.most, a.tracker.Open())
		}
		h.table(t, 100, 65536, 700)
		a.goOn(time.Minute)
		a.saidOf()
		elapse(time.Hour)
		a.goOn(time.Second) // the incident is over
		if got := a.saidOf(); len(got) != 0 {
			t.Errorf("told %q", got)
		}
	})
}

// What the process may not do is said once, at info, with what to do about it.
func TestALookThatIsNotPermittedIsSaidOnce(t *testing.T) {
	for _, denied := range []error{conntrack.ErrMayNotList, conntrack.ErrMayNotEnter} {
		l := &look{err: denied}
		filled(t, l, func(t *testing.T, h scratch, a *Agent, said *observer.ObservedLogs) {
			a.goOn(5 * time.Minute)
			lines := said.FilterMessage("who fills the table is not told").All()
			if len(l.begun) < 5 || len(lines) != 1 || lines[0].Level != zap.InfoLevel || lines[0].ContextMap()["error"] != denied.Error() {
				t.Errorf("after %d looks: %+v", len(l.begun), lines)
			}
			if got := a.saidOf(); len(got) != 1 || len(a.notes) != 0 {
				t.Errorf("told %q, notes %v", got, a.notes)
			}
		})
	}
}

// One that fails is no news to anybody; the next may succeed.
func TestALookThatFailsIsRepeated(t *testing.T) {
	l := &look{err: errors.New("no memory")}
	filled(t, l, func(t *testing.T, _ scratch, a *Agent, said *observer.ObservedLogs) {
		l.err, l.top = nil, []remediate.Talker{{Address: "192.0.2.1", Entries: 60000}}
		a.goOn(31 * time.Second)
		if got := a.saidOf(); len(l.begun) != 2 || !slices.Equal(got, []string{"incident.opened []", "incident.updated [{192.0.2.1 60000}]"}) {
			t.Errorf("%d looks, told %q", len(l.begun), got)
		}
		if n := said.FilterMessageSnippet("who fills").Len(); n != 0 {
			t.Errorf("%d lines in the log", n)
		}
	})
}

// Looks take a twentieth of the time at most, however many tables are full.
func TestLooksHaveTheirShareOfTheTime(t *testing.T) {
	l := &look{takes: 3 * time.Second, top: []remediate.Talker{{Address: "192.0.2.1", Entries: 60000}}}
	filled(t, l, func(t *testing.T, h scratch, a *Agent, _ *observer.ObservedLogs) {
		a.goOn(4 * time.Minute)
		for i := 1; i < len(l.begun); i++ {
			if apart := l.begun[i].Sub(l.begun[i-1]); apart < 63*time.Second {
				t.Errorf("looks %v apart", apart)
			}
		}
		if len(l.begun) < 3 {
			t.Errorf("%d looks", len(l.begun))
		}
	})
}
