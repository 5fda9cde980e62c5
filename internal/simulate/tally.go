package simulate

import (
	"sync"
	"time"
)

// Report is how far a simulation has come. Times are seconds since the storm began, 0: not yet.
type Report struct {
	// Phase is hello, storm, goodbye or done.
	Phase       string `json:"phase"`
	Hosts       int    `json:"hosts"`
	Sites       int    `json:"sites"`
	Connections int    `json:"connections"`
	// Multiplexed is true where several hosts share a connection.
	Multiplexed bool `json:"multiplexed"`
	// Opened and Closed count the hosts' incidents.
	Opened int `json:"incidents_opened"`
	Closed int `json:"incidents_closed"`
	// Published counts events that happened, Acknowledged those that the stream has, and NotAcknowledged the rest: they
	// wait, are on their way, or were refused so far.
	Published       uint64 `json:"events_published"`
	Acknowledged    uint64 `json:"events_acknowledged"`
	NotAcknowledged uint64 `json:"events_not_acknowledged"`
	// Again counts publications of an event beyond its first, Duplicates those that the stream had already.
	Again      uint64 `json:"events_sent_again"`
	Duplicates uint64 `json:"events_duplicate"`
	// States counts the hosts' states that were acknowledged, StatesFailed those that were not; the next one makes up for it.
	States       uint64 `json:"states_acknowledged"`
	StatesFailed uint64 `json:"states_not_acknowledged"`
	// Rate is events acknowledged a second over the last second, or at the end over the whole; PeakRate the most in a second.
	Rate     float64 `json:"events_per_second"`
	PeakRate float64 `json:"events_per_second_peak"`
	// Elapsed is since the start.
	Elapsed   float64 `json:"elapsed_s"`
	OpenedAll float64 `json:"opened_all_s"`
	// Stored is when as many events were acknowledged as there were at OpenedAll.
	Stored    float64 `json:"opened_all_acknowledged_s"`
	ClosedAll float64 `json:"closed_all_s"`
	// LongestUnread is the longest time between two readings of a host: beyond a second or two, this process cannot keep up.
	LongestUnread float64 `json:"longest_between_readings_s"`
	// Problem is the last error of a publication; it stays although it may be over.
	Problem string `json:"problem,omitempty"`
}

// tally counts what happens, for all goroutines of a simulation.
type tally struct {
	mu    sync.Mutex
	r     Report
	began time.Time
	storm time.Time

	mark    uint64 // events there were once every host had its incident
	counted uint64 // acknowledged at the last report
	at      time.Time
}

func newTally(o Options, now time.Time) *tally {
	return &tally{began: now, at: now, r: Report{
		Phase: "hello", Hosts: o.Hosts, Sites: o.Sites, Connections: o.Connections, Multiplexed: o.Connections < o.Hosts,
	}}
}

// phase enters the next part.
func (t *tally) phase(name string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.r.Phase = name; name == "storm" {
		t.storm = now
	}
}

// happened counts events, before they are handed over.
func (t *tally) happened(events int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.Published += uint64(events)
}

// incident counts a host's incident that has opened or closed.
func (t *tally) incident(opened, closed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if opened {
		if t.r.Opened++; t.r.Opened == t.r.Hosts {
			t.r.OpenedAll, t.mark = time.Since(t.storm).Seconds(), t.r.Published
		}
	}
	if closed {
		if t.r.Closed++; t.r.Closed == t.r.Hosts {
			t.r.ClosedAll = time.Since(t.storm).Seconds()
		}
	}
}

// unread notes the time between two readings of a host.
func (t *tally) unread(longest time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.LongestUnread = max(t.r.LongestUnread, longest.Seconds())
}

func (t *tally) sent(m *message) {
	if !m.event || !m.tried {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.Again++
}

func (t *tally) acknowledged(m *message, duplicate bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !m.event {
		t.r.States++
		return
	}
	t.r.Acknowledged++
	if duplicate {
		t.r.Duplicates++
	}
	if t.r.OpenedAll > 0 && t.r.Stored == 0 && t.r.Acknowledged >= t.mark {
		t.r.Stored = time.Since(t.storm).Seconds()
	}
}

func (t *tally) failed(m *message, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.Problem = err.Error()
	if !m.event {
		t.r.StatesFailed++
	}
}

// settled tells whether every event so far was acknowledged.
func (t *tally) settled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.r.Acknowledged == t.r.Published
}

func (t *tally) closedAll() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.r.Closed == t.r.Hosts
}

// report is the state of now; whole asks for the rate over all of the time.
func (t *tally) report(now time.Time, whole bool) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.r
	r.NotAcknowledged = r.Published - r.Acknowledged
	r.Elapsed = now.Sub(t.began).Seconds()
	if span := now.Sub(t.at).Seconds(); span > 0.5 {
		r.Rate = float64(r.Acknowledged-t.counted) / span
		t.r.PeakRate = max(t.r.PeakRate, r.Rate)
		r.PeakRate = t.r.PeakRate
		t.counted, t.at = r.Acknowledged, now
	}
	if whole && r.Elapsed > 0 {
		r.Rate = float64(r.Acknowledged) / r.Elapsed
	}
	return r
}
