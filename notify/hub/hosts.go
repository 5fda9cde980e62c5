package hub

import (
	"math"
	"strings"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub/web"
	"github.com/ctwarden/ctwarden/remediate"
)

// ringPoints is how many points of a host's table are kept: an hour and a half, at one a minute.
const ringPoints = 90

// hosts is what is known of every host from its state: a row each, of less than two kilobytes. The whole state stays in the
// bucket and is read there when somebody asks for it.
type hosts struct {
	mu sync.Mutex
	// byKey has the rows by their key in the bucket.
	byKey map[string]*hostRow
	// first and last are the ends of the list of rows by revision: a row that changes goes to the end.
	first, last *hostRow
	revision    uint64
	// words has each version, site and label once, since 100,000 hosts share a few.
	words map[string]string
	// labels has each list of labels once, by its text.
	labels map[string][]string
	// heard is for how long the bucket was heard so far.
	heard time.Duration
}

// hostRow is one host.
type hostRow struct {
	site, host string
	state      hostState
	seen       time.Time
	// heardAt is hosts.heard when the last state came, or else when the row was made.
	heardAt  time.Duration
	severity remediate.Severity
	silent   bool
	stopped  bool
	labels   []string
	ring     ring
	// gone is true once the host was forgotten: readers are told of that, and the row goes for good some time later.
	gone bool

	revision     uint64
	before, next *hostRow
}

func newHosts() *hosts {
	return &hosts{byKey: map[string]*hostRow{}, words: map[string]string{}, labels: map[string][]string{}}
}

// word is the one copy of a text that many rows have.
func (h *hosts) word(text string) string {
	if w, ok := h.words[text]; ok {
		return w
	}
	if len(h.words) > 100_000 { // hosts that send a new word each minute must not fill the memory
		h.words = map[string]string{}
	}
	text = strings.Clone(text)
	h.words[text] = text
	return text
}

// row is the host's row, made where there is none. The caller holds mu.
func (h *hosts) row(site, host string) *hostRow {
	key := notify.HostKey(site, host)
	r := h.byKey[key]
	if r == nil {
		r = &hostRow{site: h.word(site), host: strings.Clone(host), heardAt: h.heard}
		h.byKey[key] = r
	}
	if r.gone {
		r.gone, r.heardAt = false, h.heard
	}
	return r
}

// touch gives the row a new revision, at the end of the list.
func (h *hosts) touch(r *hostRow) {
	h.revision++
	r.revision = h.revision
	if h.last == r {
		return
	}
	h.unlink(r)
	r.before, r.next = h.last, nil
	if h.last != nil {
		h.last.next = r
	} else {
		h.first = r
	}
	h.last = r
}

func (h *hosts) unlink(r *hostRow) {
	if r.before != nil {
		r.before.next = r.next
	} else if h.first == r {
		h.first = r.next
	}
	if r.next != nil {
		r.next.before = r.before
	} else if h.last == r {
		h.last = r.before
	}
}

// see takes a host's state, which arrived at the given time.
func (h *hosts) see(s hostState, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.row(s.Site, s.Host)
	refused := uint64(0)
	// Less than before means that the agent has begun to count anew.
	if had := r.state.refused(); !r.seen.IsZero() && s.refused() >= had {
		refused = s.refused() - had
	}
	s.Version, s.Site, s.Host = h.word(s.Version), r.site, r.host
	s.Incidents, s.Listed = nil, false
	// A state does not undo a goodbye: it may be from before that, which the fleet can tell.
	r.state, r.seen, r.heardAt, r.silent = s, at, h.heard, false
	r.ring.add(point{uint32(at.Unix()), clip(s.Count), clip(s.Max), clip(refused)})
	h.touch(r)
}

// mark notes what the fleet makes of a host.
func (h *hosts) mark(site, host string, severity remediate.Severity, silent, stopped bool, labels []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.byKey[notify.HostKey(site, host)]
	back := was == nil || was.gone
	r := h.row(site, host)
	if !back && r.severity == severity && r.silent == silent && r.stopped == stopped && sameLabels(r.labels, labels) {
		return
	}
	r.severity, r.silent, r.stopped, r.labels = severity, silent, stopped, h.shared(labels)
	h.touch(r)
}

func (h *hosts) shared(labels []string) []string {
	key := strings.Join(labels, "\x00")
	if _, ok := h.labels[key]; !ok {
		h.labels[key] = labels
	}
	return h.labels[key]
}

func sameLabels(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// current is the revision of the last change.
func (h *hosts) current() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.revision
}

// since calls take with what changed after the revision, and returns the one that this comes up to.
func (h *hosts) since(revision uint64, take func(web.Row)) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := h.first
	if revision > 0 {
		from = nil
		for r := h.last; r != nil && r.revision > revision; r = r.before {
			from = r
		}
	}
	for r := from; r != nil; r = r.next {
		take(r.web())
	}
	return h.revision
}

func (r *hostRow) web() web.Row {
	return web.Row{
		Site: r.site, Host: r.host, Version: r.state.Version, Mode: r.state.Mode, Labels: r.labels,
		Count: r.state.Count, Max: r.state.Max, Refused: r.state.refused(), Seen: r.seen, Severity: r.severity,
		Silent: r.silent, Stopped: r.stopped, Held: r.state.Held || r.state.Fleet.Hold, Gone: r.gone,
	}
}

// detail is the host's row with its points; false where nothing is known of it.
func (h *hosts) detail(site, host string) (web.HostDetail, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.byKey[notify.HostKey(site, host)]
	if r == nil || r.gone {
		return web.HostDetail{}, false
	}
	return web.HostDetail{Row: r.web(), Points: r.ring.points()}, true
}

// each calls fn with every host's last state and when it came. fn must not call hosts.
func (h *hosts) each(fn func(s hostState, seen time.Time)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := h.first; r != nil; r = r.next {
		if !r.seen.IsZero() {
			fn(r.state, r.seen)
		}
	}
}

func clip(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

// point is a host's table at one time, in 16 bytes.
type point struct {
	at         uint32 // seconds since 1970
	count, max uint32
	refused    uint32 // since the point before
}

// ring has the last points. It grows with them, since most hosts of a fleet that is watched for a minute have few.
type ring struct {
	all  []point
	next int // where the next point goes, once there are ringPoints
}

// add puts a point behind the others. A second one within half a minute replaces the first, and keeps its refusals: a
// host in trouble sends its state more often than once a minute.
func (r *ring) add(p point) {
	if n := len(r.all); n > 0 {
		last := &r.all[(r.next+n-1)%n]
		if p.at-r.beforeLast() < 60 && n > 1 {
			p.refused = uint32(min(uint64(p.refused)+uint64(last.refused), math.MaxUint32))
			*last = p
			return
		}
	}
	if len(r.all) < ringPoints {
		r.all = append(r.all, p)
		return
	}
	r.all[r.next] = p
	r.next = (r.next + 1) % ringPoints
}

// beforeLast is the time of the last point but one.
func (r *ring) beforeLast() uint32 {
	n := len(r.all)
	if n < 2 {
		return 0
	}
	return r.all[(r.next+n-2)%n].at
}

// points are oldest first.
func (r *ring) points() []web.Point {
	out := make([]web.Point, 0, len(r.all))
	for i := range r.all {
		p := r.all[(r.next+i)%len(r.all)]
		out = append(out, web.Point{
			At: time.Unix(int64(p.at), 0).UTC(), Count: uint64(p.count), Max: uint64(p.max), Refused: uint64(p.refused),
		})
	}
	return out
}
