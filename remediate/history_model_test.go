package remediate

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// A modelled incident is a run of records of one host and namespace without a gap of closeAfter, found by sorting them
// all: slow, and too simple to be wrong.
type modelled struct {
	who         string
	first, last time.Time
	counts      map[string]int
	suppressed  map[string]int
}

func model(list []Match, closeAfter time.Duration) []*modelled {
	matches := slices.DeleteFunc(slices.Clone(list), func(m Match) bool { return m.Count == 0 })
	slices.SortStableFunc(matches, func(a, b Match) int {
		return cmp.Or(cmp.Compare(whose(a), whose(b)), a.Time.Compare(b.Time))
	})
	var all []*modelled
	for _, m := range matches {
		var i *modelled
		if n := len(all); n > 0 && all[n-1].who == whose(m) && m.Time.Sub(all[n-1].last) < closeAfter {
			i = all[n-1]
		} else {
			i = &modelled{who: whose(m), first: m.Time, counts: map[string]int{}, suppressed: map[string]int{}}
			all = append(all, i)
		}
		i.last = m.Time
		i.counts[m.Key()] += m.Count
	}
	modelSuppressed(all, list, closeAfter)
	return all
}

func whose(m Match) string {
	return fmt.Sprint(strings.ToLower(strings.Split(m.Host, ".")[0]), " ", m.NetNS)
}

// modelSuppressed books each notice to the match before it in its stream, or else to the next one within 5 s.
func modelSuppressed(all []*modelled, list []Match, closeAfter time.Duration) {
	for at, n := range list {
		if n.Count > 0 {
			continue
		}
		same := func(m Match) bool {
			return m.Count > 0 && m.Key() == n.Key() && HostLabel(m.Host) == HostLabel(n.Host)
		}
		book := func(m Match) {
			for _, i := range all {
				if i.who == whose(m) && !m.Time.Before(i.first) && !m.Time.After(i.last) {
					i.suppressed[n.Key()] += n.Suppressed
				}
			}
		}
		before := slices.Clone(list[:at])
		slices.Reverse(before)
		if i := slices.IndexFunc(before, same); i >= 0 && n.Time.Sub(before[i].Time) < closeAfter {
			book(before[i])
		} else if i := slices.IndexFunc(list[at:], same); i >= 0 && list[at+i].Time.Sub(n.Time) <= 5*time.Second {
			book(list[at+i])
		}
	}
}

// randomRecords are streams of three hosts' names, each in the order of its time, mixed with each other.
func randomRecords(rng *rand.Rand, closeAfter time.Duration) []Match {
	var streams [][]Match
	for range 1 + rng.IntN(5) {
		from := Match{Source: SourceSyslog, Path: fmt.Sprint("/var/log/", rng.IntN(3)), Host: []string{"hv1", "HV1.example.org", "hv2"}[rng.IntN(3)]}
		if slices.ContainsFunc(streams, func(s []Match) bool {
			return s[0].Path == from.Path && HostLabel(s[0].Host) == HostLabel(from.Host)
		}) {
			continue // one stream would come mixed with itself
		}
		var stream []Match
		at := noon
		for range 1 + rng.IntN(30) {
			gaps := []time.Duration{0, time.Second, closeAfter - 1, closeAfter, closeAfter + 1, 5 * time.Second, 5*time.Second + 1,
				time.Duration(rng.Int64N(int64(3 * closeAfter)))}
			at = at.Add(gaps[rng.IntN(len(gaps))])
			m := from
			m.Time, m.Count, m.NetNS = at, 1+rng.IntN(3), uint64(rng.IntN(3))
			if rng.IntN(5) == 0 {
				m.Count, m.Suppressed = 0, 1+rng.IntN(100)
			}
			stream = append(stream, m)
		}
		streams = append(streams, stream)
	}
	var mixed []Match
	for len(streams) > 0 {
		i := rng.IntN(len(streams))
		mixed = append(mixed, streams[i][0])
		if streams[i] = streams[i][1:]; len(streams[i]) == 0 {
			streams = slices.Delete(streams, i, i+1)
		}
	}
	return mixed
}

func compareWithModel(t *testing.T, list []Match, closeAfter time.Duration) {
	t.Helper()
	h := NewHistory(closeAfter)
	for _, m := range list {
		h.Add(m)
	}
	got, want := h.Incidents(), model(list, closeAfter)
	slices.SortFunc(got, func(a, b Past) int {
		who := func(p Past) string { return whose(Match{Host: p.Host, NetNS: p.NetNS.Inode}) }
		return cmp.Or(cmp.Compare(who(a), who(b)), a.OpenedAt.Compare(b.OpenedAt))
	})
	if len(got) != len(want) {
		t.Fatalf("%d incidents; want %d of %v", len(got), len(want), list)
	}
	for i, w := range want {
		p := got[i]
		if !p.OpenedAt.Equal(w.first) || !p.ClosedAt.Equal(w.last.Add(closeAfter)) ||
			p.Matches != w.counts[Largest(w.counts)] || p.Suppressed != w.suppressed[Largest(w.suppressed)] ||
			fmt.Sprint(p.PerSource) != fmt.Sprint(w.counts) {
			t.Fatalf("incident %+v; want %+v\nof %v", p.Incident, *w, list)
		}
	}
}

func TestHistoryAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 20))
	for range 2000 {
		closeAfter := time.Duration(6+rng.IntN(200)) * time.Second
		list := randomRecords(rng, closeAfter)
		compareWithModel(t, list, closeAfter)
		// Without notices, which belong to their neighbours, the order of arrival must not matter.
		list = slices.DeleteFunc(list, func(m Match) bool { return m.Count == 0 })
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		compareWithModel(t, list, closeAfter)
	}
}
