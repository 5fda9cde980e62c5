package remediate

import "time"

const (
	// pastSettle is how long after the last old record the history is published, so that slower streams of the same
	// records are heard first; pastLongest is how long it waits at most while they keep coming.
	pastSettle  = 2 * time.Second
	pastLongest = time.Minute
	// pastEpisodes bounds the history of the time before the start. Old records that come later are rare, unless
	// somebody forges them: latePastEpisodes bounds the history of those, published at most once in pastLongest.
	pastEpisodes     = 4096
	latePastEpisodes = 64
)

// past gathers the records from before the first reading.
type past struct {
	history *History
	// first and last are when the first and the last of them came; zero: none has.
	first, last time.Time
	caughtUp    bool
	// due is when the next history may be published; zero: none was published yet.
	due time.Time
}

func newPast(cfg TrackerConfig) past {
	h := NewHistory(cfg.CloseAfter)
	h.keepLead = 0
	return past{history: h}
}

// resume takes over the old records that an earlier run had not published yet.
func (p *past) resume(h *History, cfg TrackerConfig) {
	h.closeAfter, h.keepLead = cfg.CloseAfter, 0
	p.history, p.first, p.last = h, cfg.Start, cfg.Start
}

// CaughtUp tells that every source has delivered what was there before the start, so that the history is whole.
func (t *Tracker) CaughtUp() { t.past.caughtUp = true }

// addPast takes an old record. All records are this host's, whether their envelope has a name or not.
func (t *Tracker) addPast(now time.Time, m Match, at time.Time) {
	p := &t.past
	most := pastEpisodes
	if !p.due.IsZero() {
		most = latePastEpisodes
	}
	if p.history.episodes >= most {
		if m.Count > 0 {
			t.addUnverified(now, m, at)
		}
		return
	}
	if p.first.IsZero() || !p.caughtUp {
		p.first = now
	}
	p.last = now
	m.Host = ""
	t.booked++
	p.history.Add(m)
}

// flushPast publishes the incidents of old records once they are whole.
func (t *Tracker) flushPast(now time.Time) {
	p := &t.past
	switch {
	case !p.caughtUp || now.Before(p.due):
		return
	case p.last.IsZero() && len(t.st.Unwatched) == 0:
		return
	case now.Sub(p.last) < pastSettle && now.Sub(p.first) < pastLongest:
		return
	}
	for _, found := range p.history.Incidents() {
		i := found.Incident
		if u, ok := t.takeUnwatched(&i); ok {
			u.bear(&i)
		}
		i.ID = hashID("history", t.cfg.Host, i.BootID, i.NetNS.Inode, i.OpenedAt.UTC().Format(time.RFC3339Nano))
		t.remember(i)
		if i.ClosedAt.After(now) {
			i.ClosedAt = &now
		}
		t.tellPast(now, i)
	}
	for _, u := range t.st.Unwatched {
		t.tellPast(now, u.incident(t.cfg))
	}
	t.st.Unwatched = nil
	t.past = newPast(t.cfg)
	t.past.caughtUp, t.past.due = true, now.Add(pastLongest)
}

// tellPast publishes an incident of the past: opened and closed, under ids that are the same if it is found again.
func (t *Tracker) tellPast(now time.Time, i Incident) {
	opened := i
	opened.ClosedAt = nil
	t.events = append(t.events,
		Event{ID: hashID(EventIncidentOpened, i.ID), Type: EventIncidentOpened, Time: now, Data: opened},
		Event{ID: hashID(EventIncidentClosed, i.ID), Type: EventIncidentClosed, Time: now, Data: i})
}
