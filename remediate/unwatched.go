package remediate

import (
	"cmp"
	"slices"
	"time"
)

// mostUnwatched bounds the namespaces whose counters are remembered for the next start.
const mostUnwatched = 256

// lastCounters are a namespace's counters as last read, for the next start within the boot.
type lastCounters struct {
	Drop      uint64    `json:"drop"`
	EarlyDrop uint64    `json:"early_drop"`
	At        time.Time `json:"at"`
}

// unwatched is what a namespace's counters rose by while nobody ran who could see it. Where no incident was open before,
// that is told as an incident of the past.
//
// Only a namespace whose early_drop rose is taken for one that was full: that counter rises for nothing else, and the
// kernel prints nothing when it does. The counter drop also rises for other verdicts, and the first of its lines is
// printed and found in the log. A younger namespace that took over the number had all of its growth in that time too.
type unwatched struct {
	NetNS      NetNS     `json:"netns"`
	From       time.Time `json:"from"`
	To         time.Time `json:"to"`
	Drops      uint64    `json:"drops"`
	EarlyDrops uint64    `json:"early_drops"`
	Count      uint64    `json:"count"`
	Max        uint64    `json:"max"`
}

// lastRead is what of each namespace is remembered: of the first one, and of the fullest.
func (t *Tracker) lastRead() map[uint64]lastCounters {
	list := make([]*table, 0, len(t.tables))
	for _, tb := range t.tables {
		if tb.hasCounted && !tb.counted.At.IsZero() {
			list = append(list, tb)
		}
	}
	if len(list) > mostUnwatched {
		slices.SortFunc(list, func(a, b *table) int {
			if a.ns.Init != b.ns.Init {
				return urgencyOf(b.ns.Init) - urgencyOf(a.ns.Init)
			}
			return cmp.Or(cmp.Compare(b.peak(), a.peak()), cmp.Compare(a.ns.Inode, b.ns.Inode))
		})
		list = list[:mostUnwatched]
	}
	out := make(map[uint64]lastCounters, len(list))
	for _, tb := range list {
		c := tb.counted
		out[tb.ns.Inode] = lastCounters{Drop: c.Counters.Drop, EarlyDrop: c.Counters.EarlyDrop, At: c.At}
	}
	for inode, c := range t.before { // not read since the start
		if len(out) < mostUnwatched {
			out[inode] = c
		}
	}
	return out
}

func urgencyOf(first bool) int {
	if first {
		return 1
	}
	return 0
}

// noticeUnwatched compares the first counters of a namespace since the start with those from before it. An incident that
// was open then has them booked to it.
func (t *Tracker) noticeUnwatched(now time.Time, r Reading, counted bool) {
	b, ok := t.before[r.NetNS.Inode]
	if !ok || !r.CountersOK {
		return
	}
	delete(t.before, r.NetNS.Inode)
	if counted || r.Counters.EarlyDrop <= b.EarlyDrop || r.Counters.Drop < b.Drop || len(t.st.Unwatched) >= mostUnwatched {
		return
	}
	u := unwatched{
		NetNS: r.NetNS, From: b.At, To: now, Count: r.Count, Max: r.Max,
		Drops: r.Counters.Drop - b.Drop, EarlyDrops: r.Counters.EarlyDrop - b.EarlyDrop,
	}
	if u.From.After(now) {
		u.From = now // the clock was set back meanwhile
	}
	t.booked++
	t.st.Unwatched = append(t.st.Unwatched, u)
}

// takeUnwatched returns and forgets what nobody watched of the namespace of an incident of the past, in its time.
func (t *Tracker) takeUnwatched(i *Incident) (u unwatched, ok bool) {
	at := slices.IndexFunc(t.st.Unwatched, func(u unwatched) bool {
		same := u.NetNS.Inode == i.NetNS.Inode || u.NetNS.Init && i.NetNS.Init
		return same && !i.OpenedAt.After(u.To.Add(recordSlack)) && !i.ClosedAt.Before(u.From.Add(-recordSlack))
	})
	if at < 0 {
		return u, false
	}
	u = t.st.Unwatched[at]
	t.st.Unwatched = slices.Delete(t.st.Unwatched, at, at+1)
	return u, true
}

// bear has the counters bear out an incident of the past.
func (u unwatched) bear(i *Incident) {
	i.Verified, i.Drops, i.EarlyDrops = true, u.Drops, u.EarlyDrops
	i.Count, i.PeakCount, i.Max = u.Count, u.Count, u.Max
}

// incident is the incident of the past that no record tells of.
func (u unwatched) incident(cfg TrackerConfig) Incident {
	i := Incident{
		ID:       hashID("unwatched", cfg.Host, cfg.BootID, u.NetNS.Inode, u.From.UTC().Format(time.RFC3339Nano), u.EarlyDrops),
		Severity: SeverityCritical, BootID: cfg.BootID, NetNS: u.NetNS, OpenedAt: u.From, ClosedAt: &u.To, Historical: true,
	}
	u.bear(&i)
	return i
}
