package remediate

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"
)

// The namespaces of the scripts.
var (
	host   = NetNS{Inode: 4026531840, Name: "init", Owner: "host", Init: true}
	pod    = NetNS{Inode: 4026532177, Name: "pod", Owner: "container"}
	router = NetNS{Inode: 4026532999, Name: "router", Owner: "netns"}
)

// A script plays an incident: readings and records at times counted from noon, and the events that must come of them.
type script struct {
	t     *testing.T
	tr    *Tracker
	cfg   TrackerConfig
	now   time.Time
	limit uint64
	fresh []Event // not expected yet
	all   []Event
}

// play begins a script at noon, with a limit of 1,000 and incidents that close after two quiet minutes.
func play(t *testing.T) *script {
	s := &script{t: t, now: noon, limit: 1000, cfg: TrackerConfig{
		Host: "hv1", BootID: "b1", Start: noon, Pressure: 0.90, CloseAfter: 2 * time.Minute,
		UpdateEvery: 30 * time.Second, Horizon: time.Minute,
	}}
	s.tr = NewTracker(s.cfg, TrackerState{})
	return s
}

func (s *script) take(events []Event) {
	s.fresh = append(s.fresh, events...)
	s.all = append(s.all, events...)
}

// at goes on to so long after noon. The tracker ticks at every second on the way, and then.
func (s *script) at(after time.Duration) *script {
	s.t.Helper()
	end := noon.Add(after)
	if end.Before(s.now) {
		s.t.Fatalf("the script goes back to %s", after)
	}
	for next := s.now.Truncate(time.Second).Add(time.Second); next.Before(end); next = next.Add(time.Second) {
		s.take(s.tr.Tick(next))
	}
	s.now = end
	s.take(s.tr.Tick(end))
	return s
}

func (s *script) reading(ns NetNS, count uint64) Reading {
	return Reading{At: s.now, NetNS: ns, Count: count, Max: s.limit, Buckets: 250}
}

// read reads a table with its counters; look reads the count alone; blind is all there is of a hidden namespace.
func (s *script) read(ns NetNS, count, drop, earlyDrop uint64) *script {
	r := s.reading(ns, count)
	r.CountersOK, r.Counters = true, Counters{Drop: drop, EarlyDrop: earlyDrop}
	s.take(s.tr.Read(s.now, r))
	return s
}

func (s *script) look(ns NetNS, count uint64) *script {
	s.take(s.tr.Read(s.now, s.reading(ns, count)))
	return s
}

func (s *script) blind(ns NetNS, count uint64) *script {
	r := s.reading(ns, count)
	r.Blind = true
	s.take(s.tr.Read(s.now, r))
	return s
}

// full is the text of the kernel's message.
const fullText = "nf_conntrack: nf_conntrack: table full, dropping packet"

// A stream is where records come from in the scripts.
var (
	kmsg    = Match{Source: SourceKmsg, Count: 1, Text: fullText, BootID: "b1"}
	journal = Match{Source: SourceJournal, Count: 1, Text: fullText, BootID: "b1"}
	kernlog = Match{Source: SourceSyslog, Path: "/var/log/kern.log", Host: "hv1.example.org", Count: 1, Text: fullText}
	syslog  = Match{Source: SourceSyslog, Path: "/var/log/syslog", Host: "HV1", Count: 1, Text: fullText}
)

func in(ns NetNS, m Match) Match                { m.NetNS = ns.Inode; return m }
func repeated(n int, m Match) Match             { m.Count = n; return m }
func written(at time.Time, m Match) Match       { m.Time = at; return m }
func suppressed(n int, from Match) Match        { from.Count, from.Suppressed = 0, n; return from }
func after(d time.Duration) time.Time           { return noon.Add(d) }
func sec(seconds float64) time.Duration         { return time.Duration(seconds * float64(time.Second)) }
func minutes(minutes float64) (d time.Duration) { return sec(60 * minutes) }

// lines hands over records; those without a time were written just now.
func (s *script) lines(list ...Match) *script {
	for _, m := range list {
		if m.Time.IsZero() {
			m.Time = s.now
		}
		s.take(s.tr.Match(s.now, m))
	}
	return s
}

// expect compares the events since the last call with their short forms.
func (s *script) expect(want ...string) *script {
	s.t.Helper()
	var got []string
	for _, ev := range s.fresh {
		got = append(got, short(ev))
	}
	s.fresh = nil
	if !slices.Equal(got, want) {
		s.t.Errorf("at %s:\n got %q\nwant %q", s.now.Sub(noon), got, want)
	}
	return s
}

// short is an event in a few words: what, where, and the counts that are not 0.
func short(ev Event) string {
	switch d := ev.Data.(type) {
	case Incident:
		text := string(ev.Type)[len("incident."):] + " " + string(d.Severity)
		if !d.Verified {
			text += " unverified"
		}
		if d.Historical {
			text += " historical"
		}
		text += " " + name(d.NetNS)
		for _, n := range []struct {
			what  string
			count uint64
		}{{"matches", uint64(d.Matches)}, {"suppressed", uint64(d.Suppressed)}, {"drops", d.Drops}, {"early", d.EarlyDrops}} {
			if n.count > 0 {
				text += fmt.Sprintf(" %s=%d", n.what, n.count)
			}
		}
		return text
	case Step:
		return fmt.Sprintf("%s %s %d-%d %s", ev.Type, d.Reason, d.From, d.To, d.Outcome)
	case Unverified:
		return fmt.Sprintf("unverified %d", d.Count)
	case LimitChange:
		return fmt.Sprintf("limit %d-%d", d.Old, d.New)
	}
	return string(ev.Type)
}

func name(ns NetNS) string {
	if ns.Name == "" {
		return fmt.Sprint(ns.Inode)
	}
	return ns.Name
}

// asks compares what asks for a step now with "reason namespace".
func (s *script) asks(want ...string) *script {
	s.t.Helper()
	var got []string
	for _, a := range s.tr.Asks(s.now) {
		got = append(got, string(a.Reason)+" "+name(a.Reading.NetNS))
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("at %s: asks %q; want %q", s.now.Sub(noon), got, want)
	}
	return s
}

// step writes a new limit for a namespace's open incident.
func (s *script) step(ns NetNS, reason Reason, to uint64) *script {
	step := Step{ID: fmt.Sprintf("s%d at %s", to, s.now.Sub(noon)), At: s.now, From: s.limit, To: to, Reason: reason, NetNS: ns}
	for _, i := range s.tr.Open() {
		if i.NetNS.Inode == ns.Inode {
			step.IncidentID = i.ID
		}
	}
	s.limit = to
	s.take(s.tr.Applied(s.now, step, false))
	return s
}

// settles expects an outcome; "" for none yet. It is confirmed at once.
func (s *script) settles(want Outcome) *script {
	s.t.Helper()
	step, ok := s.tr.Settle(s.now)
	if ok != (want != "") || step.Outcome != want {
		s.t.Errorf("at %s: settles %v %q; want %q", s.now.Sub(noon), ok, step.Outcome, want)
	}
	if ok {
		s.take(s.tr.Confirmed(s.now, step))
	}
	return s
}

// restart saves the state, as the agent does, and goes on from it in a boot.
func (s *script) restart(boot string) *script {
	s.t.Helper()
	saved, err := json.Marshal(s.tr.State())
	if err != nil {
		s.t.Fatal(err)
	}
	var st TrackerState
	if err := json.Unmarshal(saved, &st); err != nil {
		s.t.Fatal(err)
	}
	s.cfg.Start, s.cfg.BootID = s.now, boot
	s.tr = NewTracker(s.cfg, st)
	return s
}

// incident is the one open incident.
func (s *script) incident() Incident {
	s.t.Helper()
	open := s.tr.Open()
	if len(open) != 1 {
		s.t.Fatalf("at %s: %d incidents are open; want one", s.now.Sub(noon), len(open))
	}
	return open[0]
}

// quiet expects that nothing is open.
func (s *script) quiet() *script {
	s.t.Helper()
	if open := s.tr.Open(); len(open) > 0 {
		s.t.Errorf("at %s: %d incidents are open; want none", s.now.Sub(noon), len(open))
	}
	return s
}
