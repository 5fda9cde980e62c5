package remediate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// unverifiedCounts are the counts of the unverified events, and the times between them.
func (s *script) unverifiedCounts() (counts []int, gaps []time.Duration) {
	var last time.Time
	for _, ev := range s.all {
		if ev.Type != EventMatchUnverified {
			s.t.Errorf("forged lines made %s", short(ev))
			continue
		}
		counts = append(counts, ev.Data.(Unverified).Count)
		if !last.IsZero() {
			gaps = append(gaps, ev.Time.Sub(last))
		}
		last = ev.Time
	}
	return counts, gaps
}

func sum(counts []int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

func TestForgedLinesAtOnce(t *testing.T) {
	s := play(t)
	s.read(host, 300, 17, 4).read(pod, 20, 0, 0)
	s.at(sec(10)).read(host, 310, 17, 4).read(pod, 20, 0, 0)
	for range 10_000 {
		s.lines(kernlog)
	}
	s.expect("unverified 1").asks().quiet()
	if s.tr.Critical(host.Inode) || s.tr.Critical(pod.Inode) {
		t.Error("forged lines keep sampling fast")
	}
	first := s.all[0].Data.(Unverified)
	if first.Text != fullText || first.PerSource["syslog:/var/log/kern.log"] != 1 || !first.First.Equal(s.now) ||
		!first.Last.Equal(s.now) || first.NetNS != 0 {
		t.Errorf("unverified %+v", first)
	}
	s.at(sec(69.9)).expect()
	s.at(sec(70)).expect("unverified 9999")
	if second := s.all[1].Data.(Unverified); second.PerSource["syslog:/var/log/kern.log"] != 9999 {
		t.Errorf("unverified %+v", second)
	}
	s.at(time.Hour).expect().quiet()
	s.lines(kernlog).expect("unverified 1")
}

func TestForgedLinesForAnHour(t *testing.T) {
	s := play(t)
	s.read(host, 300, 17, 4)
	for at := sec(10); at < time.Hour; at += sec(0.5) {
		s.at(at).read(host, 310, 17, 4).lines(kernlog, syslog)
	}
	s.at(2 * time.Hour).quiet()
	counts, gaps := s.unverifiedCounts()
	if sum(counts) != 2*2*3590 {
		t.Errorf("%d lines told; want %d", sum(counts), 2*2*3590)
	}
	for _, gap := range gaps {
		if gap < time.Minute {
			t.Errorf("two events within %s", gap)
		}
	}
}

// TestForgedNamespaces writes lines that name namespaces at random into a file: no table may come of them.
func TestForgedNamespaces(t *testing.T) {
	s := play(t)
	s.read(host, 300, 17, 4)
	rng := rand.New(rand.NewPCG(3, 9))
	for range 10_000 {
		s.lines(in(NetNS{Inode: 1 + rng.Uint64N(1<<32)}, kernlog))
	}
	s.asks().quiet().at(time.Hour).quiet()
	if counts, _ := s.unverifiedCounts(); len(counts) != 2 || sum(counts) != 10_000 {
		t.Errorf("unverified %v", counts)
	}
	if len(s.tr.tables) != 1 {
		t.Errorf("%d tables; want the first namespace's alone", len(s.tr.tables))
	}
}

// TestForgedHostNames writes lines of very many hosts and files, old and new: nothing may grow with them.
func TestForgedHostNames(t *testing.T) {
	s := play(t)
	s.read(host, 300, 17, 4)
	s.tr.CaughtUp()
	rng := rand.New(rand.NewPCG(3, 9))
	for i := range 100_000 {
		m := kernlog
		m.Host, m.Path = fmt.Sprint("h", rng.Uint64()), fmt.Sprint("/var/log/", i%100)
		m.NetNS = 1 + rng.Uint64N(1<<32)
		if i%2 == 0 {
			m.Time = noon.Add(-time.Duration(rng.Uint64N(uint64(1000 * time.Hour))))
		}
		if i%10 == 0 {
			s.at(time.Duration(i) * time.Millisecond)
		}
		s.lines(m)
	}
	if n := s.tr.past.history.episodes; n > pastEpisodes {
		t.Errorf("%d episodes of old records kept", n)
	}
	if n := len(s.tr.unverified.PerSource); n > mostStreams {
		t.Errorf("%d streams of unverified lines kept", n)
	}
	if n := len(s.tr.st.Closed); n > keptClosed {
		t.Errorf("%d closed incidents kept", n)
	}
	if n := len(s.tr.tables); n != 1 {
		t.Errorf("%d tables kept", n)
	}
}

// TestForgedOldLines writes lines with old stamps for an hour: the history of them is bounded too.
func TestForgedOldLines(t *testing.T) {
	s := play(t)
	s.read(host, 300, 17, 4)
	s.tr.CaughtUp()
	lines := 0
	for at := sec(1); at < time.Hour; at += sec(0.1) {
		s.at(at).lines(written(noon.AddDate(0, 0, -lines), kernlog))
		lines++
	}
	s.at(2 * time.Hour).quiet()
	opened, told := 0, 0
	for _, ev := range s.all {
		switch d := ev.Data.(type) {
		case Incident:
			if !d.Historical || d.Verified {
				t.Fatalf("an incident %s", short(ev))
			}
			if ev.Type == EventIncidentOpened {
				opened++
				told += d.Matches
			}
		case Unverified:
			told += d.Count
		}
	}
	if told != lines {
		t.Errorf("%d of %d lines told", told, lines)
	}
	if opened > 64*62+700 {
		t.Errorf("%d incidents of forged lines in an hour", opened)
	}
}

func TestForgedLinesDuringARealIncident(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 12, 0).lines(kmsg)
	for at := sec(2); at < minutes(2); at += sec(1) {
		s.at(at).read(host, 400, 12, 0).lines(kernlog)
	}
	s.at(sec(121)).quiet() // they keep nothing open
	if got := short(s.all[len(s.all)-1]); got != "closed critical init matches=5 drops=12" {
		t.Errorf("closed as %q; want the five lines near the refusal", got)
	}
}

// TestForgedKernelNamespaces is what a user can do who makes namespaces that the agent cannot see and fills them.
func TestForgedKernelNamespaces(t *testing.T) {
	s := play(t)
	s.read(host, 300, 17, 4)
	for i := range uint64(10_000) {
		s.lines(in(NetNS{Inode: 4026540000 + i}, kmsg))
	}
	s.asks()
	if n := len(s.tr.Open()); n != mostLineIncidents {
		t.Errorf("%d incidents open; want %d", n, mostLineIncidents)
	}
	if n := len(s.tr.tables); n != 1+mostLineIncidents {
		t.Errorf("%d tables kept", n)
	}
	s.at(sec(120)).quiet()
	if n := len(s.tr.tables); n != 1 {
		t.Errorf("%d tables kept after the end", n)
	}
}

func TestForgedTimes(t *testing.T) {
	s := play(t)
	s.read(host, 1000, 0, 0).at(sec(1)).read(host, 1000, 12, 0)
	s.tr.CaughtUp()
	s.fresh = nil
	for _, year := range []int{2, 1970, 2100, 9999} {
		s.lines(written(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), kernlog))
	}
	s.expect("unverified 1") // and two old ones
	if i := s.incident(); i.Matches != 0 {
		t.Errorf("matches %d", i.Matches)
	}
	s.at(minutes(3))
	for _, ev := range s.all {
		if _, err := json.Marshal(ev); err != nil {
			t.Errorf("%s: %v", short(ev), err)
		}
	}
}

// TestForgedLinesOverACrash: the lines were counted and their positions saved, so that they are told later, once.
func TestForgedLinesOverACrash(t *testing.T) {
	for _, c := range []struct{ name, boot string }{{"same boot", "b1"}, {"another boot", "b2"}} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t)
			s.read(host, 300, 17, 4).at(sec(10)).lines(kernlog)
			before := s.tr.Booked()
			m := in(pod, syslog)
			m.Text = "forged"
			s.at(sec(20)).lines(m, kernlog).expect("unverified 1")
			if got := s.tr.Booked() - before; got != 2 {
				t.Errorf("%d lines booked, so that their positions are saved; want 2", got)
			}
			s.at(sec(30)).restart(c.boot).restart(c.boot).at(sec(31)).lines(kernlog).expect()
			s.at(sec(69.9)).expect().at(sec(70)).expect("unverified 3")
			u := s.all[len(s.all)-1].Data.(Unverified)
			if u.Text != "forged" || u.NetNS != pod.Inode || !u.First.Equal(after(sec(20))) || !u.Last.Equal(after(sec(31))) ||
				u.PerSource["syslog:/var/log/kern.log"] != 2 || u.PerSource["syslog:/var/log/syslog"] != 1 {
				t.Errorf("unverified %+v", u)
			}
			s.restart(c.boot).at(minutes(10)).expect().quiet()
		})
	}
}

// TestForgedLinesWithTheClockSetBack: the minute may not last a year.
func TestForgedLinesWithTheClockSetBack(t *testing.T) {
	s := play(t)
	s.read(host, 300, 17, 4).lines(kernlog, kernlog).expect("unverified 1")
	s.now = noon.AddDate(-1, 0, 0)
	s.restart("b1")
	s.at(s.now.Sub(noon) + sec(60)).expect("unverified 1")
}
