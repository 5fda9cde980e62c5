package remediate

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"
)

// history adds matches to a history in which incidents close after two minutes.
func history(list ...Match) *History {
	h := NewHistory(2 * time.Minute)
	for _, m := range list {
		h.Add(m)
	}
	return h
}

// ago is a record of so long before noon.
func ago(d time.Duration, m Match) Match {
	m.BootID = ""
	return written(noon.Add(-d), m)
}

func TestHistoryOfTwoFilesWithTheSameRecords(t *testing.T) {
	got := history(
		ago(60*time.Minute, kernlog), ago(59*time.Minute, repeated(9, kernlog)), ago(30*time.Minute, kernlog),
		ago(60*time.Minute, syslog), ago(59*time.Minute, syslog), ago(30*time.Minute, syslog), ago(5*time.Minute, syslog),
	).Incidents()
	want := []struct {
		opened, closed time.Duration
		matches, lead  int
	}{{60 * time.Minute, 57 * time.Minute, 10, 2}, {30 * time.Minute, 28 * time.Minute, 1, 1}, {5 * time.Minute, 3 * time.Minute, 1, 1}}
	if len(got) != len(want) {
		t.Fatalf("%d incidents; want %d", len(got), len(want))
	}
	for i, w := range want {
		p := got[i]
		if !p.OpenedAt.Equal(noon.Add(-w.opened)) || !p.ClosedAt.Equal(noon.Add(-w.closed)) || p.Matches != w.matches || p.Lead.Len() != w.lead {
			t.Errorf("incident %d: from %s to %s, matches %d, lead %v", i, p.OpenedAt, p.ClosedAt, p.Matches, p.Lead)
		}
		if !p.Historical || p.Verified || p.Severity != SeverityCritical || p.NetNS.Name != "init" || !p.NetNS.Init {
			t.Errorf("incident %d: %+v", i, p.Incident)
		}
	}
	if !maps.Equal(got[0].PerSource, map[string]int{"syslog:/var/log/kern.log": 10, "syslog:/var/log/syslog": 2}) {
		t.Errorf("per source %v", got[0].PerSource)
	}
}

func TestHistoryOfHostsAndNamespaces(t *testing.T) {
	other := kernlog
	other.Host = "hv2"
	got := history(ago(50*time.Minute, kernlog), ago(50*time.Minute, other), ago(50*time.Minute, in(pod, kernlog)),
		ago(50*time.Minute, syslog), ago(49*time.Minute, kernlog)).Incidents()
	var who []string
	for _, p := range got {
		who = append(who, HostLabel(p.Host)+" "+name(p.NetNS))
	}
	if want := []string{"hv1 init", "hv1 4026532177", "hv2 init"}; !slices.Equal(who, want) {
		t.Errorf("incidents of %q; want %q", who, want)
	}
}

func TestHistorySuppressed(t *testing.T) {
	got := history(
		ago(sec(3606), suppressed(100, kernlog)), // too long before
		ago(sec(3605), suppressed(1, kernlog)), ago(sec(3601), suppressed(2, kernlog)), ago(sec(3600), kernlog),
		ago(sec(3590), suppressed(4, kernlog)), ago(sec(3481), suppressed(8, kernlog)),
		ago(sec(3480), suppressed(200, kernlog)), // after the end
		ago(sec(3602), suppressed(14, syslog)), ago(sec(3600), syslog),
	).Incidents()
	if len(got) != 1 || got[0].Suppressed != 15 {
		t.Errorf("%+v; want 15 suppressed", got)
	}
	h := history(ago(sec(60), suppressed(5, kernlog)))
	for range 1000 {
		h.Add(ago(sec(10), suppressed(1, kernlog)))
	}
	if len(h.Incidents()) != 0 {
		t.Error("a notice alone makes an incident")
	}
	h.Add(ago(sec(9), kernlog))
	if got := h.Incidents()[0].Suppressed; got != 16 {
		t.Errorf("suppressed %d; want the last 16 notices", got)
	}
}

func TestHistoryWithoutTimes(t *testing.T) {
	undated := kernlog
	uptime := kernlog
	uptime.Mono = 500 * time.Second
	got := history(ago(time.Hour, kernlog), undated, undated).Incidents()
	if len(got) != 1 || got[0].Matches != 3 || !got[0].ClosedAt.Equal(noon.Add(-58*time.Minute)) || got[0].Lead.Len() != 3 {
		t.Errorf("undated records: %+v", got)
	}
	got = history(uptime, undated).Incidents()
	if len(got) != 1 || got[0].Matches != 2 || !got[0].OpenedAt.Equal(time.Unix(500, 0)) {
		t.Errorf("records with the time since boot alone: %+v", got)
	}
	got = history(undated, undated).Incidents()
	if len(got) != 1 || got[0].Matches != 2 || !got[0].OpenedAt.IsZero() {
		t.Errorf("records without any time: %+v", got)
	}
}

// TestHistoryOutOfOrder adds records in turn near one end and the other: no more episodes may come of it than there were.
func TestHistoryOutOfOrder(t *testing.T) {
	h := NewHistory(2 * time.Minute)
	for i := range 100_000 {
		h.Add(ago(time.Duration(i%2)*time.Hour+time.Duration(i)*time.Millisecond, kernlog))
	}
	if h.episodes != 2 {
		t.Errorf("%d episodes kept", h.episodes)
	}
	got := h.Incidents()
	if len(got) != 2 || got[0].Matches != 50_000 || got[1].Matches != 50_000 || got[0].Lead.Len() != 50_000 {
		t.Errorf("%d incidents", len(got))
	}
	if lead := got[0].Lead; !slices.IsSorted(lead.since) || !lead.At(0).Equal(got[0].OpenedAt) {
		t.Error("the lead is out of order")
	}
	for range maxLead {
		h.Add(ago(0, kernlog))
	}
	if got := h.Incidents()[1]; got.Lead.Len() != maxLead || got.Matches != 50_000+maxLead {
		t.Errorf("lead of %d, matches %d", got.Lead.Len(), got.Matches)
	}
}

func TestHistoryJSON(t *testing.T) {
	before := history(ago(60*time.Minute, kernlog), ago(61*time.Minute, in(pod, kmsg)), ago(30*time.Minute, kernlog),
		ago(29*time.Minute, suppressed(7, kernlog)), ago(30*time.Minute, syslog))
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	var back History
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	back.closeAfter = 2 * time.Minute
	for _, h := range []*History{before, &back} {
		h.Add(ago(29*time.Minute, kernlog))
		h.Add(ago(28*time.Minute, suppressed(2, kernlog)))
	}
	was, is := before.Incidents(), back.Incidents()
	for i := range was {
		was[i].Lead, is[i].Lead = Times{}, Times{}
	}
	if !reflect.DeepEqual(was, is) || before.episodes != back.episodes {
		t.Errorf("%+v\nwas %+v", is, was)
	}
	for _, damaged := range []string{`{}`, `[1]`, `"x"`} {
		if err := json.Unmarshal([]byte(damaged), &back); err == nil {
			t.Errorf("%s was taken for a history", damaged)
		}
	}
}

func TestHistoryOfTheLastYearAndNoYear(t *testing.T) {
	end := time.Date(9999, 12, 31, 23, 59, 0, 0, time.UTC)
	p := history(written(end, kernlog)).Incidents()[0]
	if _, err := json.Marshal(p); err != nil || !p.ClosedAt.Equal(end) {
		t.Errorf("closed at %s: %v", p.ClosedAt, err)
	}
}

func TestLargestOfNothing(t *testing.T) {
	for _, c := range []struct {
		counts map[string]int
		want   string
	}{{nil, ""}, {map[string]int{"b": 0, "a": 0}, "a"}, {map[string]int{"a": 2, "b": 3, "c": 3}, "b"}} {
		if got := Largest(c.counts); got != c.want {
			t.Errorf("Largest(%v) = %q; want %q", c.counts, got, c.want)
		}
	}
}

func TestPastIsPublishedOnce(t *testing.T) {
	s := play(t)
	s.lines(ago(60*time.Minute, kernlog), ago(60*time.Minute, syslog), ago(60*time.Minute, kmsg), ago(10*time.Minute, kernlog))
	other := kmsg
	other.BootID = "b0"
	s.lines(other) // of another boot, whatever its time
	s.at(sec(30)).expect()
	s.asks().quiet()
	s.tr.CaughtUp()
	s.lines(ago(10*time.Minute, syslog))
	s.at(sec(31.9)).expect().at(sec(32)).expect(
		"opened critical unverified historical init matches=1", "closed critical unverified historical init matches=1",
		"opened critical unverified historical init matches=1", "closed critical unverified historical init matches=1",
		"opened critical unverified historical init matches=1", "closed critical unverified historical init matches=1")
	if last := s.all[5].Data.(Incident); !last.ClosedAt.Equal(s.now) || !last.OpenedAt.Equal(noon) {
		t.Errorf("closed %+v; want no later than now", last)
	}
	if first := s.all[0].Data.(Incident); first.Host != "" || len(first.PerSource) != 3 || first.ClosedAt != nil {
		t.Errorf("opened %+v", first)
	}
	s.lines(ago(60*time.Minute-sec(4), syslog), ago(9*time.Minute, in(pod, kernlog)))
	s.at(minutes(5)).expect("opened critical unverified historical 4026532177 matches=1", "closed critical unverified historical 4026532177 matches=1")
	s.at(minutes(6)).lines(kernlog).expect("unverified 1")
}

func TestPastHasTheSameIDsEveryTime(t *testing.T) {
	var ids [2][]string
	for i := range ids {
		s := play(t)
		records := []Match{ago(60*time.Minute, kernlog), ago(60*time.Minute, syslog), ago(50*time.Minute, in(pod, kmsg)), ago(8*time.Minute, syslog)}
		if i == 1 { // the streams come in another order, at another time
			slices.Reverse(records)
			s.at(sec(7))
		}
		s.lines(records...)
		s.tr.CaughtUp()
		s.at(sec(60))
		for _, ev := range s.all {
			ids[i] = append(ids[i], ev.ID)
		}
	}
	if len(ids[0]) != 6 || !slices.Equal(ids[0], ids[1]) {
		t.Errorf("ids %q, then %q", ids[0], ids[1])
	}
}

// TestPastOfAStreamThatNeverEnds: old records that keep coming are published all the same.
func TestPastOfAStreamThatNeverEnds(t *testing.T) {
	s := play(t)
	s.tr.CaughtUp()
	for at := sec(1); at < sec(90); at += sec(1) {
		s.at(at).lines(ago(time.Hour, kernlog))
	}
	s.expect("opened critical unverified historical init matches=60", "closed critical unverified historical init matches=60")
}
