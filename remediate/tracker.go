package remediate

import (
	"cmp"
	"slices"
	"time"
)

const (
	// recordSlack is how far a record's time may lie outside the refusals that the counters show: a table that may be full
	// is read once a second or oftener, old syslog stamps have whole seconds, and clocks are set.
	recordSlack = 5 * time.Second
	// startSlack is how much older than the first reading a record may be and still count as new.
	startSlack = time.Second
	// hysteresis is how far below the pressure share the table must fall before it counts as quiet.
	hysteresis = 0.05
	// maxUpdateEvery is where the doubling of the time between updates ends.
	maxUpdateEvery = time.Hour
	// keptClosed is how many closed incidents are remembered, for records that come late.
	keptClosed = 64
)

// TrackerConfig is what a [Tracker] needs to know beforehand.
type TrackerConfig struct {
	Host, BootID string
	// Start is when the first reading was taken: older records make history.
	Start time.Time
	// Pressure is the share of the limit from which a table counts as filling.
	Pressure float64
	// CloseAfter is how long all must be quiet before an incident closes.
	CloseAfter time.Duration
	// UpdateEvery is the least time between two updates of an incident in which nothing turned worse and nobody else came
	// to lead, doubled with each up to an hour.
	UpdateEvery time.Duration
	// Horizon is how far ahead a full table is foreseen.
	Horizon time.Duration
	// MaxInsertRate is the growth, in entries per second, up to which a step asks for a second's room and is due a tenth of a
	// second ahead. Of what is faster no more counts: it does not last, and is read as much oftener. Zero: all counts.
	MaxInsertRate float64
	// ForeignPause is how long automatic steps pause after somebody else lowered the limit; 0: they do not.
	ForeignPause time.Duration
	// Decay is how long the tables must be nearly empty before a step back down; 0: there is none.
	Decay time.Duration
}

// TrackerState is what must survive a restart, in JSON.
type TrackerState struct {
	BootID string     `json:"boot_id"`
	Seq    uint64     `json:"seq"`
	Open   []*ongoing `json:"open,omitempty"`
	Closed []Incident `json:"closed,omitempty"`
	// Pending is the step whose outcome is not booked yet.
	Pending *Step `json:"pending,omitempty"`
	// Limit is the limit as last read or written in this boot; nil: never.
	Limit *uint64 `json:"limit,omitempty"`
	// ForeignAt is when somebody else last lowered the limit so that automatic steps pause.
	ForeignAt time.Time `json:"foreign_at,omitzero"`
	// Foreign is what is known of others who write the limit in this boot.
	Foreign foreignWriters `json:"foreign,omitzero"`
	// FirstLimit is the limit found at the very first start, in whatever boot; nil: not read yet.
	FirstLimit *uint64 `json:"first_limit,omitempty"`
	// Quiet is for how long, watched, every table has stayed below a quarter of the limit in this boot.
	Quiet time.Duration `json:"quiet,omitempty"`
	// QuietPeak is the highest count of any of them in that time.
	QuietPeak uint64 `json:"quiet_peak,omitempty"`
	// StepTimes are the times of the automatic steps of the last hour.
	StepTimes []time.Time `json:"step_times,omitempty"`
	// Past has the old records that are not published yet; nil: none.
	Past *History `json:"past,omitempty"`
	// Unverified has the lines that nothing bears out and that are not published yet; nil: there were none lately.
	Unverified *unverifiedLines `json:"unverified,omitempty"`
	// Counters are those of the namespaces as last read in this boot; Unwatched is what they rose by while no agent ran
	// and is not published yet.
	Counters  map[uint64]lastCounters `json:"counters,omitempty"`
	Unwatched []unwatched             `json:"unwatched,omitempty"`
}

// Tracker turns matches and readings into incidents. It is not safe for concurrent use: one loop owns it.
//
// Every method that takes the time also returns the events that came of it, in order.
type Tracker struct {
	cfg    TrackerConfig
	st     TrackerState
	tables map[uint64]*table
	first  uint64 // inode of the first namespace; 0: not read yet
	events []Event

	past       past
	clock      clockJump
	before     map[uint64]lastCounters // by inode, as read before the start; each until its first reading since
	rebooted   bool                    // incidents of another boot are still open
	orphan     *Step                   // the pending step of another boot; nil: there is none
	unverified unverifiedLines
	notices    map[string]Match // per stream, the last notice of suppressed messages that no incident was open for
	limit      uint64           // the limit as last read or written, valid where limitKnown
	limitKnown bool             // also from before a restart
	limitAt    time.Time        // when that was; zero: before the start, or never
	mark       Reading          // where what the pending step did not prevent is counted from, with counters
	settled    bool             // the pending step's outcome was told
	quietAt    time.Time        // when the first namespace was last read; zero: not since the start
	bound      Reading          // see Bound; At zero: there is none
	// pausedTotal is what was refused while steps kept still on account of somebody else's change.
	pausedTotal uint64
	booked      uint64 // records counted to an incident, to the past or as unverified
}

// NewTracker returns a tracker that goes on from a saved state; the zero state is a fresh start. Incidents of another
// boot are closed at the first [Tracker.Read], [Tracker.Match] or [Tracker.Tick], and its pending step is given up.
//
// The limit of the first reading is compared with the one of the same boot's state. A step that was written and not
// saved before a crash must be handed to [Tracker.Applied] or [Tracker.Reverted] before that, or it counts as somebody
// else's change; its incident to [Tracker.Reopen] before the step.
func NewTracker(cfg TrackerConfig, st TrackerState) *Tracker {
	t := &Tracker{
		cfg: cfg, st: st, tables: map[uint64]*table{}, past: newPast(cfg),
		notices: map[string]Match{},
	}
	if st.Past != nil {
		t.past.resume(st.Past, cfg)
	}
	if st.Unverified != nil {
		t.unverified = *st.Unverified
		t.unverified.resume(cfg.Start)
	}
	for _, o := range st.Open {
		o.resume(cfg.Start)
	}
	if st.BootID != cfg.BootID {
		t.orphan = st.Pending
		t.st.Pending, t.st.ForeignAt, t.rebooted = nil, time.Time{}, true
		t.st.Foreign, t.st.Quiet, t.st.QuietPeak = foreignWriters{}, 0, 0
		return t
	}
	if st.Limit != nil {
		t.limit, t.limitKnown = *st.Limit, true
	}
	t.st.Quiet = max(t.st.Quiet, 0)
	t.resumeForeign()
	t.before = st.Counters
	if p := st.Pending; p != nil && p.At.After(cfg.Start) {
		p.At = cfg.Start
	}
	for _, o := range st.Open {
		t.tables[o.NetNS.Inode] = resumedTable(o)
	}
	return t
}

// Configure takes over a changed configuration: the share that counts as pressure and the times. Host, boot and start
// stay.
func (t *Tracker) Configure(cfg TrackerConfig) {
	cfg.Host, cfg.BootID, cfg.Start = t.cfg.Host, t.cfg.BootID, t.cfg.Start
	t.cfg = cfg
}

// State returns what has to be saved. It shares memory with the tracker: encode it before the next call.
func (t *Tracker) State() TrackerState {
	t.st.BootID, t.st.Past, t.st.Unverified = t.cfg.BootID, nil, nil
	t.st.Limit, t.st.Counters = nil, t.lastRead()
	if limit := t.limit; t.limitKnown {
		t.st.Limit = &limit
	}
	if u := &t.unverified; u.Count > 0 || !u.Due.IsZero() {
		t.st.Unverified = u
	}
	if !t.past.last.IsZero() {
		t.st.Past = t.past.history
	}
	return t.st
}

// Read takes a reading.
func (t *Tracker) Read(now time.Time, r Reading) []Event {
	t.endBoot(now)
	t.noticeLimit(now, r)
	tb := t.table(r.NetNS)
	t.noticeUnwatched(now, r, tb.hasCounted)
	t.takeBound(tb, r)
	seen := tb.take(r, &t.cfg)
	t.markPending(r, seen)
	o := tb.ongoing
	switch {
	case (seen.refusing || seen.chainDrops > 0) && o == nil:
		o = t.open(now, tb, SeverityCritical)
	case t.filling(tb) && o == nil:
		o = t.open(now, tb, SeverityWarning)
	}
	if o != nil {
		t.observe(now, o, r, seen)
	}
	return t.take()
}

// Born tells that a namespace appeared that was not there when all were first looked for: its counters began at zero, so
// that what its first reading shows was refused since. It is called before that reading, and says nothing of a namespace
// that was read before or had an incident before the start.
func (t *Tracker) Born(now time.Time, ns NetNS) {
	delete(t.before, ns.Inode) // that was another one of the same number
	tb := t.table(ns)
	before := tb.ongoing != nil && tb.ongoing.OpenedAt.Before(t.cfg.Start)
	if tb.last.At.IsZero() && !before {
		tb.born = now
	}
}

// filling tells whether a table stands high, or is foreseen to be full within the horizon.
func (t *Tracker) filling(tb *table) bool {
	ttf := tb.trend.lasts
	return tb.last.Fill() >= t.cfg.Pressure || tb.surging() ||
		ttf > 0 && ttf <= t.cfg.Horizon && tb.trend.confidence() >= FoundedForecast
}

// Gone tells that a namespace is no more. Its incident closes.
func (t *Tracker) Gone(now time.Time, inode uint64) []Event {
	delete(t.before, inode)
	t.bound = Reading{} // it may not have been among what that bounds, and be found again
	if t.Settling() && t.st.Pending.NetNS.Inode == inode {
		t.giveUp(now, "its namespace was gone before the outcome was known")
	}
	if tb := t.tables[inode]; tb != nil {
		delete(t.tables, inode)
		if tb.ongoing != nil {
			t.close(now, tb.ongoing)
		}
	}
	return t.take()
}

// Tick closes incidents that have been quiet, sends updates that are due and finishes what is left of old records. It
// is called at least once a second.
func (t *Tracker) Tick(now time.Time) []Event {
	t.endBoot(now)
	t.watchClock(now)
	for _, o := range slices.Clone(t.st.Open) {
		switch {
		case now.Sub(o.TroubleAt) >= t.cfg.CloseAfter:
			t.close(now, o)
		case o.Dirty && now.Sub(o.UpdateAt) >= o.UpdateEvery:
			o.UpdateEvery = min(2*o.UpdateEvery, max(maxUpdateEvery, t.cfg.UpdateEvery))
			t.update(now, o)
		}
	}
	t.flushUnverified(now)
	t.flushPast(now)
	return t.take()
}

// endBoot closes what was open in the boot before, and gives up the step whose outcome was awaited there.
func (t *Tracker) endBoot(now time.Time) {
	if !t.rebooted {
		return
	}
	t.rebooted = false
	if s := t.orphan; s != nil {
		t.orphan = nil
		t.abandon(now, *s, "not persisted: the machine went down before the outcome was known, and the limit with it")
	}
	for _, o := range slices.Clone(t.st.Open) {
		t.close(now, o)
	}
}

// Open returns the open incidents, the oldest first.
func (t *Tracker) Open() []Incident {
	out := make([]Incident, 0, len(t.st.Open))
	for _, o := range t.st.Open {
		out = append(out, o.snapshot())
	}
	return out
}

// Uneventful tells that no incident is open and no step's outcome is awaited: time alone brings nothing that is urgent.
func (t *Tracker) Uneventful() bool { return len(t.st.Open) == 0 && !t.Settling() }

// Troubled tells whether an incident is open in a namespace.
func (t *Tracker) Troubled(inode uint64) bool {
	tb := t.tables[inode]
	return tb != nil && tb.ongoing != nil
}

// Critical tells whether connections are being refused in a namespace or were until a short while ago: its sampling must
// stay fast, since the kernel will be silent. What long hash chains alone refuse asks for no step, and does not count.
func (t *Tracker) Critical(inode uint64) bool {
	tb := t.tables[inode]
	if tb == nil || tb.ongoing == nil {
		return false
	}
	o := tb.ongoing
	return o.Severity == SeverityCritical && o.Verified && (o.ChainDrops == 0 || o.Drops+o.EarlyDrops > 0)
}

// Booked is how many records were counted to an incident, to the past or as unverified so far: when it has grown, there is something
// that must be saved with the position of the records.
func (t *Tracker) Booked() uint64 { return t.booked }

// table returns the table of a namespace, known or new.
func (t *Tracker) table(ns NetNS) *table {
	tb := t.tables[ns.Inode]
	if tb == nil {
		tb = &table{}
		t.tables[ns.Inode] = tb
	}
	if ns.Name != "" || ns.Init {
		tb.ns = ns
	}
	if ns.Init {
		t.first = ns.Inode
	}
	tb.ns.Inode = ns.Inode
	return tb
}

// open begins an incident in the namespace of the table.
func (t *Tracker) open(now time.Time, tb *table, severity Severity) *ongoing {
	o := &ongoing{
		Incident: Incident{
			ID:       hashID("incident", t.cfg.Host, t.cfg.BootID, tb.ns.Inode, now.UnixNano()),
			Severity: severity, Verified: !tb.last.Blind, BootID: t.cfg.BootID, NetNS: tb.ns, OpenedAt: now,
			PerSource: map[string]int{},
		},
		Counters: tb.counted.Counters, Counted: tb.hasCounted,
		TroubleAt: now, UpdateAt: now, UpdateEvery: t.cfg.UpdateEvery, SuppressedBy: map[string]int{},
		Said: map[string]bool{}, fresh: true,
	}
	tb.ongoing = o
	t.st.Open = append(t.st.Open, o)
	return o
}

// observe books a reading to an incident and emits what is worth saying at once.
func (t *Tracker) observe(now time.Time, o *ongoing, r Reading, seen growth) {
	tb := t.tables[o.NetNS.Inode]
	worse := seen.refusing && (o.Severity != SeverityCritical || o.RefusedAt.IsZero()) ||
		seen.chainDrops > 0 && o.Severity != SeverityCritical
	o.NetNS = tb.ns
	o.take(r, seen)
	o.RefusedInPause += t.countPaused(now, seen)
	o.foresee(&tb.trend)
	o.Verified = o.Verified || !r.Blind && t.filling(tb)
	if seen.refusing {
		o.Severity, o.Verified, o.RefusedAt = SeverityCritical, true, now
	}
	if seen.chainDrops > 0 {
		o.Severity, o.Verified = SeverityCritical, true
	}
	if seen.refusing || seen.chainDrops > 0 || r.Fill() >= t.cfg.Pressure-hysteresis || t.filling(tb) {
		o.TroubleAt = now
	}
	if hit := t.limitHitBy(); !slices.Equal(hit, o.LimitHitBy) {
		o.LimitHitBy, o.Dirty = hit, true
	}
	switch {
	case o.fresh:
		o.fresh = false
		t.emit(now, EventIncidentOpened, o.snapshot())
		o.Dirty = false
	case worse:
		t.update(now, o)
	}
}

// limitHitBy lists the namespaces at the limit, when there is more than one.
func (t *Tracker) limitHitBy() []NetNS {
	var hit []NetNS
	for _, tb := range t.tables {
		if tb.last.Fill() >= FullShare {
			hit = append(hit, tb.ns)
		}
	}
	if len(hit) < 2 {
		return nil
	}
	slices.SortFunc(hit, func(a, b NetNS) int { return cmp.Compare(a.Inode, b.Inode) })
	return hit
}

func (t *Tracker) update(now time.Time, o *ongoing) {
	o.UpdateAt, o.Dirty = now, false
	o.toldTop()
	t.emit(now, EventIncidentUpdated, o.snapshot())
}

// close ends an incident and remembers it for late records.
func (t *Tracker) close(now time.Time, o *ongoing) {
	closed := now
	if o.BootID != t.cfg.BootID {
		closed = o.TroubleAt
	}
	// The wall clock may have been set back meanwhile: who reads both times is not to find it over before it began, nor
	// shorter than it was.
	if least := o.OpenedAt.Add(max(closed.Sub(o.OpenedAt), 0)); closed.Round(0).Before(least.Round(0)) {
		closed = least
	}
	o.ClosedAt = &closed
	t.st.Open = slices.DeleteFunc(t.st.Open, func(x *ongoing) bool { return x == o })
	if tb := t.tables[o.NetNS.Inode]; tb != nil && tb.ongoing == o {
		tb.ongoing = nil
		if tb.last.At.IsZero() {
			delete(t.tables, o.NetNS.Inode) // known from lines alone
		}
	}
	t.remember(o.snapshot())
	t.emit(now, EventIncidentClosed, o.snapshot())
}

func (t *Tracker) remember(i Incident) {
	t.st.Closed = append(t.st.Closed, i)
	if len(t.st.Closed) > keptClosed {
		oldest := max(slices.IndexFunc(t.st.Closed, func(c Incident) bool { return c.Historical }), 0)
		t.st.Closed = slices.Delete(t.st.Closed, oldest, oldest+1)
	}
}
