package remediate

import (
	"strings"
	"testing"
	"time"
)

// quarrel is a script with somebody else who writes the limit, and ctwarden that decides.
type quarrel struct {
	*script
	p     Policy
	drops uint64
	steps []Step // those taken
}

// disputed begins at noon with a limit of 4,000, which somebody else lowers to 1,000 a second later.
func disputed(t *testing.T) *quarrel {
	q := &quarrel{script: play(t), p: allowed()}
	q.cfg.ForeignPause, q.limit = q.p.ForeignPause, 4000
	q.tr = NewTracker(q.cfg, TrackerState{})
	q.read(host, 100, 0, 0).at(sec(1))
	q.lower(1000).expect("limit 4000-1000")
	return q
}

func (q *quarrel) at(after time.Duration) *quarrel {
	q.t.Helper()
	q.script.at(after)
	return q
}

func (q *quarrel) restart(boot string) *quarrel {
	q.t.Helper()
	q.script.restart(boot)
	return q
}

// lower has somebody else set the limit, and a reading see it.
func (q *quarrel) lower(to uint64) *quarrel {
	q.limit = to
	q.read(host, 100, q.drops, 0)
	return q
}

// refuse has the kernel refuse seven packets.
func (q *quarrel) refuse() *quarrel {
	q.drops += 7
	q.read(host, q.limit, q.drops, 0)
	return q
}

// decide does what the agent does with what asks; it returns the reason, "" where nothing asked.
func (q *quarrel) decide() Reason {
	asks := q.tr.Asks(q.now)
	if len(asks) == 0 {
		return ""
	}
	s := refusing()
	s.Now, s.Ask, s.Limits.Max, s.Limits.Buckets, s.StepTimes = q.now, asks[0], q.limit, 131072, q.tr.StepTimes()
	s.ForeignAt, s.Foreign = q.tr.ForeignAt(), q.tr.Foreign(q.now)
	d := Decide(q.p, s)
	if !d.Do {
		q.take(q.tr.Refused(q.now, q.p, d))
		return d.Reason
	}
	q.steps = append(q.steps, Step{At: q.now, From: d.From, To: d.To, Reason: d.Reason})
	q.step(d.NetNS, d.Reason, d.To)
	return d.Reason
}

func (q *quarrel) decides(want Reason) *quarrel {
	q.t.Helper()
	if got := q.decide(); got != want {
		q.t.Fatalf("at %s: %q, want %q", q.now.Sub(noon), got, want)
	}
	return q
}

// said is what the last step.refused adds to its reason.
func (q *quarrel) said() string {
	for i := len(q.all) - 1; i >= 0; i-- {
		if q.all[i].Type == EventStepRefused {
			return q.all[i].Data.(Step).Error
		}
	}
	return ""
}

// rise fills the table to 95 %, rising, so that pressure asks.
func (q *quarrel) rise() *quarrel {
	q.look(host, q.limit*80/100).at(q.now.Sub(noon)+sec(0.5)).read(host, q.limit*95/100, q.drops, 0)
	return q
}

func TestDecideAfterOthers(t *testing.T) {
	long := noon.Add(-time.Hour)
	lowered := func(reraised int) func(*Policy, *Situation) {
		return func(_ *Policy, s *Situation) {
			s.ForeignAt, s.Foreign = long, Foreign{Lowered: s.Limits.Max, Reraised: reraised}
		}
	}
	against := func(n int) func(*Policy, *Situation) {
		return func(_ *Policy, s *Situation) {
			s.ForeignAt, s.Foreign = long, Foreign{Lowered: s.Limits.Max, Against: n}
		}
	}
	for _, c := range []decideCase{
		{"refusals under a lowered limit", refusing(), lowered(0), ReasonFull, true, 131072, 0},
		{"raised again once", refusing(), lowered(1), ReasonFull, true, 131072, 0},
		{"raised again twice", refusing(), lowered(2), ReasonForeignChange, false, 131072, 0},
		{"the last against one writer", refusing(), against(1), ReasonFull, true, 131072, 0},
		{"often enough against one writer", refusing(), against(2), ReasonForeignChange, false, 131072, 0},
		{"raised again twice, but others do not matter", refusing(), func(p *Policy, s *Situation) {
			lowered(2)(p, s)
			p.ForeignPause = 0
		}, ReasonFull, true, 131072, 0},
		{"pressure under a lowered limit", filling(), lowered(0), ReasonForeignChange, false, 131072, 0},
		{"pressure, but others do not matter", filling(), func(p *Policy, s *Situation) {
			lowered(0)(p, s)
			p.ForeignPause = 0
		}, ReasonPressure, true, 131072, 0},
		{"pressure after others raised", filling(), func(_ *Policy, s *Situation) { s.ForeignAt = long }, ReasonPressure, true, 131072, 0},
		{"raised once from where others had raised it to", filling(), func(_ *Policy, s *Situation) { s.Foreign.Reraised = 1 },
			ReasonPressure, true, 131072, 0},
		{"raised twice from where others had raised it to", refusing(), func(_ *Policy, s *Situation) { s.Foreign.Reraised = 2 },
			ReasonForeignChange, false, 131072, 0},
		{"forecast under a lowered limit", surging(), lowered(0), ReasonForeignChange, false, 131072, 0},
		{"the persisted limit under a lowered one", asked(ReasonBoot, 90000), lowered(0), ReasonForeignChange, false, 90000, 0},
		{"by hand under a lowered limit", asked(ReasonManual, 90000), lowered(2), ReasonManual, true, 90000, 0},
	} {
		t.Run(c.name, c.run)
	}
}

func TestLoweredByOthers(t *testing.T) {
	q := disputed(t)
	q.at(sec(2)).refuse().decides(ReasonForeignChange)
	if want := "set from 4000 to 1000 by someone else; automatic steps pause for 9m59s more"; q.said() != want {
		t.Errorf("said %q, want %q", q.said(), want)
	}
	q.at(minutes(1.5)).refuse().decides(ReasonForeignChange)
	if i := q.incident(); i.RefusedInPause != 14 || i.Drops != 14 || q.tr.RefusedInPause() != 14 {
		t.Errorf("%d of %d in the pause, want 14 of 14", i.RefusedInPause, i.Drops)
	}
	q.at(minutes(10)).rise().decides(ReasonForeignChange)
	// The pause is over and a table that fills is not enough: whoever lowered the limit meant it.
	q.at(minutes(11.5)).rise().decides(ReasonForeignChange)
	if got := q.said(); !strings.HasSuffix(got, "automatic steps pause for 1s more") {
		t.Errorf("said once more: %q", got)
	}
	if st := q.tr.ForeignStatus(q.now, q.p); st == nil || st.Old != 4000 || !strings.HasPrefix(st.Steps, "automatic steps wait until connections are refused") {
		t.Errorf("status %+v", st)
	}
	q.at(minutes(12.5)).refuse().decides(ReasonFull)
	if q.limit != 2000 || q.tr.Foreign(q.now).Lowered != 0 || q.tr.ForeignStatus(q.now, q.p) != nil {
		t.Errorf("limit %d, %+v", q.limit, q.tr.Foreign(q.now))
	}
	q.at(minutes(12.6)).rise().decides(ReasonPressure) // the limit is ctwarden's again
	if i := q.incident(); i.RefusedInPause != 7 || q.tr.RefusedInPause() != 21 {
		t.Errorf("%d and %d refused in the pause, want 7 and 21", i.RefusedInPause, q.tr.RefusedInPause())
	}
}

func TestNoPauseMeansThatOthersDoNotMatter(t *testing.T) {
	q := disputed(t)
	q.p.ForeignPause, q.cfg.ForeignPause = 0, 0
	q.tr.Configure(q.cfg)
	for i := range 5 {
		q.at(minutes(float64(i + 1))).lower(1000).at(minutes(float64(i+1)) + sec(1)).rise().decides(ReasonPressure)
	}
	q.at(minutes(7)).lower(1000).refuse()
	if i := q.incident(); i.RefusedInPause != 0 {
		t.Errorf("%d refused in a pause that there is none of", i.RefusedInPause)
	}
}

// TestNeverAFight lowers the limit again after each step.
func TestNeverAFight(t *testing.T) {
	q := disputed(t)
	at := func(m float64) *quarrel { return q.at(minutes(m)) }
	at(11).refuse().decides(ReasonFull)
	at(12).lower(1000)
	at(21.9).refuse().decides(ReasonForeignChange) // a second pause: whoever insists may be a person
	at(22.5).rise().decides(ReasonForeignChange)   // it is over, but they still meant it
	at(23).refuse().decides(ReasonFull)
	if w := q.tr.lastForeign(); w.ByKind != WriterUnknown || w.Times != 2 {
		t.Errorf("after two times %+v", w)
	}
	at(24).lower(1000)
	change := q.tr.lastForeign()
	if change.ByKind != WriterReapplied || change.Times != 3 {
		t.Errorf("after three times %+v", change)
	}
	q.fresh = nil
	at(25).refuse().decides(ReasonForeignChange)
	want := "set from 2000 to 1000 by something that sets it again and again, 3 times in this boot; raised again 2 times " +
		"within the hour, which is enough: find what sets it (a configuration tool, a timer with sysctl --system) and " +
		"change the value there"
	if q.said() != want {
		t.Errorf("said %q\nwant %q", q.said(), want)
	}
	for m := 26.0; m < 71; m++ { // the first of the two was at 11
		at(m).refuse().decides(ReasonForeignChange)
	}
	refused := 0
	for _, ev := range q.fresh {
		if ev.Type == EventStepRefused {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("said %d times in one incident, want once", refused)
	}
	at(71).refuse().decides(ReasonFull)
	if n := len(q.steps); n != 3 {
		t.Errorf("%d steps, want 3", n)
	}
	// Another value is another writer's, and one step by hand is nobody's fight.
	at(72).lower(500)
	at(83).refuse().decides(ReasonFull)
	at(84).lower(500)
	q.step(host, ReasonManual, 600)
	if f := q.tr.Foreign(q.now); f.Lowered != 0 {
		t.Errorf("after a step by hand %+v", f)
	}
	at(85).lower(500)
	if f := q.tr.Foreign(q.now); f.Lowered != 500 || f.Reraised != 1 {
		t.Errorf("a step by hand counts as one of ctwarden's own: %+v", f)
	}
}

// TestPersonInsists lowers the limit again a minute after ctwarden has raised it: a person is left alone for foreign_pause
// once more, a file that is known to have the value is not.
func TestPersonInsists(t *testing.T) {
	for _, c := range []struct {
		name string
		w    Writer
		want Reason // of refusals in what would be the second pause
	}{
		{"nobody known", Writer{}, ReasonForeignChange},
		{"a line of a file", Writer{WriterSysctl, "/etc/sysctl.d/50-db.conf:3"}, ReasonFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := disputed(t)
			q.tr.Wrote(LimitChange{Old: 4000, New: 1000}, c.w)
			q.at(minutes(11)).refuse().decides(ReasonFull)
			q.at(minutes(12)).lower(1000).at(minutes(12) + sec(0.01)).refuse().decides(c.want)
			if c.want == ReasonFull {
				return
			}
			q.at(minutes(22) - sec(1)).refuse().decides(ReasonForeignChange)
			q.at(minutes(22) + sec(1)).refuse().decides(ReasonFull)
			q.at(minutes(23)).lower(1000) // the third time within the hour: no person's, and raised often enough
			q.at(minutes(24)).refuse().decides(ReasonForeignChange)
			q.at(minutes(70)).refuse().decides(ReasonForeignChange)
			q.at(minutes(71)).refuse().decides(ReasonFull)
		})
	}
}

// TestOwnStepsBeforeAreNoFight: steps from a value that nobody had lowered the limit to are not against anybody.
func TestOwnStepsBeforeAreNoFight(t *testing.T) {
	q := disputed(t)
	q.at(minutes(11)).refuse().decides(ReasonFull)
	q.at(minutes(11) + sec(2)).refuse().decides(ReasonFull)
	q.at(minutes(12)).lower(2000)
	if f := q.tr.Foreign(q.now); f.Lowered != 2000 || f.Reraised != 0 {
		t.Errorf("after one lowering to 2000: %+v", f)
	}
}

func TestWroteNamesTheWriter(t *testing.T) {
	for _, c := range []struct {
		name string
		w    Writer
		who  string
		do   string
	}{
		{"nobody known", Writer{}, "someone else", "ask who sets it, or take the step with ctwarden raise --to N"},
		{"a line", Writer{WriterSysctl, "/etc/sysctl.d/50-db.conf:3"}, "/etc/sysctl.d/50-db.conf:3, which has this value",
			"change or remove /etc/sysctl.d/50-db.conf:3"},
		{"kube-proxy", Writer{WriterKubeProxy, "kube-proxy"}, "kube-proxy",
			"raise conntrack.maxPerCore in kube-proxy's configuration, or set it to 0, which leaves the limit alone"},
		{"tuned", Writer{WriterTuned, "/etc/tuned/db/tuned.conf:9"}, "/etc/tuned/db/tuned.conf:9, which has this value",
			"change the profile of tuned in /etc/tuned/db/tuned.conf:9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := disputed(t)
			got := q.tr.Wrote(LimitChange{Old: 4000, New: 1000, ByKind: WriterUnknown, Times: 1}, c.w)
			if got.Who() != c.who || got.remedy() != c.do || got.By != c.w.Name || got.Times != 1 {
				t.Errorf("%+v: %q, %q", got, got.Who(), got.remedy())
			}
			q.restart("b1")
			if again := q.tr.lastForeign(); again != got && c.w.Kind != "" {
				t.Errorf("after a restart %+v, want %+v", again, got)
			}
			// A change that the tracker does not know is nobody's.
			other := LimitChange{Old: 1, New: 2}
			if got := q.tr.Wrote(other, Writer{WriterSysctl, "x"}); got != other {
				t.Errorf("of another change: %+v", got)
			}
		})
	}
}

func TestForeignOverRestarts(t *testing.T) {
	fought := func(t *testing.T) *quarrel {
		q := disputed(t)
		q.at(minutes(11)).refuse()
		q.decides(ReasonFull)
		q.at(minutes(12)).lower(1000).at(minutes(23)).refuse()
		q.decides(ReasonFull)
		q.at(minutes(24)).lower(1000)
		return q
	}
	t.Run("in the pause", func(t *testing.T) {
		q := disputed(t)
		q.at(minutes(5)).restart("b1")
		q.at(minutes(6)).refuse().at(minutes(9)).refuse()
		q.decides(ReasonForeignChange)
		if i := q.incident(); i.RefusedInPause != 7 { // what was refused before the first reading is not known
			t.Errorf("%d refused in the pause", i.RefusedInPause)
		}
	})
	t.Run("after the pause", func(t *testing.T) {
		q := disputed(t)
		q.at(minutes(11)).restart("b1")
		q.at(minutes(12)).rise().decides(ReasonForeignChange)
		q.at(minutes(13)).refuse().decides(ReasonFull)
	})
	t.Run("after two re-raises", func(t *testing.T) {
		q := fought(t)
		q.restart("b1").at(minutes(40)).read(host, 1000, q.drops, 0)
		q.at(minutes(40) + sec(1)).restart("b1").at(minutes(40) + sec(2))
		q.refuse().at(minutes(40) + sec(3))
		q.refuse().decides(ReasonForeignChange)
		if got := q.said(); !strings.Contains(got, "raised again 2 times within the hour") {
			t.Errorf("said %q", got)
		}
	})
	t.Run("the clock set back a year", func(t *testing.T) {
		q := fought(t)
		q.now = q.now.AddDate(-1, 0, 0)
		q.restart("b1")
		year := q.now.Sub(noon)
		q.read(host, 100, q.drops, 0).at(year + minutes(59))
		q.refuse().decides(ReasonForeignChange)
		q.at(year + minutes(61)).refuse().decides(ReasonFull)
	})
	t.Run("the clock set back a year, in the pause", func(t *testing.T) {
		q := disputed(t)
		q.now = q.now.AddDate(-1, 0, 0)
		q.restart("b1")
		year := q.now.Sub(noon)
		q.read(host, 100, q.drops, 0).at(year + minutes(9))
		q.refuse().decides(ReasonForeignChange)
		q.at(year + minutes(11)).refuse().decides(ReasonFull)
	})
	t.Run("a reboot", func(t *testing.T) {
		q := fought(t)
		q.restart("b2").at(minutes(25)).read(host, 100, 0, 0)
		if st := q.tr.State(); len(st.Foreign.Changes) > 0 || len(st.Foreign.Reraised) > 0 || st.Foreign.Lowered != 0 || !st.ForeignAt.IsZero() {
			t.Errorf("known after a reboot: %+v", st.Foreign)
		}
	})
}

// TestTableGoneIsNobodysChange: the module is unloaded and loaded again, with the limit that the kernel begins with.
func TestTableGoneIsNobodysChange(t *testing.T) {
	q := disputed(t)
	q.at(minutes(20)).tr.TableGone()
	q.at(minutes(21)).lower(1000).expect()
	if f := q.tr.Foreign(q.now); f.Lowered != 0 {
		t.Errorf("somebody lowered %+v", f)
	}
}

// TestForeignIsBounded has others set ever new values.
func TestForeignIsBounded(t *testing.T) {
	q := disputed(t)
	for i := range uint64(1000) {
		q.at(sec(float64(i)/10 + 2)).lower(1000 + i)
	}
	if n := len(q.tr.State().Foreign.Changes); n != keptForeign {
		t.Errorf("%d changes are kept", n)
	}
}
