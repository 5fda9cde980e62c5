package remediate

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"
)

const (
	// suppressedBefore is how long before the first match of an episode a notice of suppressed messages still belongs
	// to it: the kernel's rate limit runs over 5 s, and the notice comes with the next message that passes.
	suppressedBefore = 5 * time.Second
	// maxLead bounds the times kept of one episode of one stream.
	maxLead = 1 << 16
	// mostPending bounds the notices that wait for a match.
	mostPending = 16
)

// History turns old matches into the incidents that they were. Nothing is known of the counters of that time, so the
// records are all there is: an incident lasts until the messages stop for closeAfter.
//
// Matches of one stream (Match.Key) are added in order; streams may follow each other or come mixed. Its memory grows
// with the number of incidents, not of matches.
type History struct {
	closeAfter time.Duration
	streams    map[streamKey]*stream
	episodes   int // of all streams
	keepLead   int // how many times are kept of one episode
	recent     recentStream
	// streamsOf finds streams by the host as written, for the source and path of recent.
	streamsOf map[string]*stream
}

// recentStream is the stream of the last match, by what names it: the next match is usually of the same.
type recentStream struct {
	source     Source
	path, host string
	stream     *stream
}

// Past is an incident of the past.
type Past struct {
	Incident
	// Lead has the times of the records of the stream that counted most, in order; the first 65,536 of them.
	Lead Times
}

type historyKey struct {
	host  string
	netns uint64
}

type streamKey struct {
	source string
	host   string
}

// stream is what one source says of one host.
type stream struct {
	episodes map[uint64][]*episode // by namespace inode
	// last is the episode of the stream's last match, which a notice of suppressed messages belongs to.
	last    *episode
	pending []notice // those that came before a match, the latest mostPending
	recent  recentEpisode
}

// notice tells of suppressed messages.
type notice struct {
	at         time.Time
	suppressed int
}

// recentEpisode is what the last match was booked to; newest: it is the namespace's last.
type recentEpisode struct {
	*episode
	inode  uint64
	newest bool
}

// episode is a run of matches of one stream in one namespace without a gap of closeAfter.
type episode struct {
	host        string
	bootID      string
	first, last time.Time
	count       int
	suppressed  int
	lead        Times
}

// NewHistory returns an empty history in which an incident closes after so long without a match.
func NewHistory(closeAfter time.Duration) *History {
	return &History{closeAfter: closeAfter, streams: map[streamKey]*stream{}, keepLead: maxLead}
}

// Add takes a match. One without any time is taken as following the one before it in its stream.
func (h *History) Add(m Match) {
	s := h.streamOf(m)
	m = m.bounded()
	m.Time = s.timeOf(m)
	if m.Count == 0 {
		s.notice(m, h.closeAfter)
		return
	}
	e := h.episode(s, m)
	for _, n := range s.pending {
		if m.Time.Sub(n.at) <= suppressedBefore {
			e.suppressed += n.suppressed
		}
	}
	s.last, s.pending = e, s.pending[:0]
}

// streamOf finds the stream of a match. Looking for the one of the match before first spares most of the work.
func (h *History) streamOf(m Match) *stream {
	r := &h.recent
	if same := r.stream != nil && r.source == m.Source && r.path == m.Path; !same {
		h.streamsOf = map[string]*stream{}
	} else if r.host == m.Host {
		return r.stream
	}
	s := h.streamsOf[m.Host]
	if s == nil {
		s = h.stream(streamKey{m.Key(), HostLabel(m.Host)})
		h.streamsOf[m.Host] = s
	}
	*r = recentStream{m.Source, m.Path, m.Host, s}
	return s
}

func (h *History) stream(key streamKey) *stream {
	s := h.streams[key]
	if s == nil {
		s = &stream{episodes: map[uint64][]*episode{}}
		h.streams[key] = s
	}
	return s
}

// timeOf is the record's wall-clock time; else its time since boot on a clock that starts at the zero hour of 1970; else
// the time of the record before it.
func (s *stream) timeOf(m Match) time.Time {
	switch {
	case m.Time.IsZero() && m.Mono > 0:
		return time.Unix(0, 0).Add(m.Mono).UTC()
	case m.Time.IsZero() && s.last != nil:
		return s.last.last
	}
	return m.Time
}

func (s *stream) notice(m Match, closeAfter time.Duration) {
	if s.last != nil && m.Time.Sub(s.last.last) < closeAfter {
		s.last.suppressed += m.Suppressed
		return
	}
	if len(s.pending) == mostPending {
		s.pending = slices.Delete(s.pending, 0, 1)
	}
	s.pending = append(s.pending, notice{m.Time, m.Suppressed})
}

// episode books a match to the episode that it falls into. The episodes of a namespace are kept in order, closeAfter or
// more apart, so that records out of order cannot make more of them than there were incidents.
func (h *History) episode(s *stream, m Match) *episode {
	if r := s.recent; r.holds(m, h.closeAfter) {
		r.book(m, h.keepLead)
		return r.episode
	}
	list := s.episodes[m.NetNS]
	at := sort.Search(len(list), func(i int) bool { return m.Time.Sub(list[i].last) < h.closeAfter })
	if at == len(list) || list[at].first.Sub(m.Time) >= h.closeAfter {
		list = slices.Insert(list, at, &episode{host: m.Host, first: m.Time, last: m.Time})
		h.episodes++
	}
	e := list[at]
	e.book(m, h.keepLead)
	if next := at + 1; next < len(list) && list[next].first.Sub(e.last) < h.closeAfter {
		e.take(*list[next])
		e.lead.addAll(list[next].lead, h.keepLead)
		list = slices.Delete(list, next, next+1)
		h.episodes--
	}
	s.episodes[m.NetNS] = list
	s.recent = recentEpisode{e, m.NetNS, at == len(list)-1}
	return e
}

// holds tells whether a match falls into the episode and cannot make it touch the one after it.
func (r recentEpisode) holds(m Match, closeAfter time.Duration) bool {
	return r.episode != nil && r.inode == m.NetNS && !m.Time.Before(r.first) &&
		(!m.Time.After(r.last) || r.newest && m.Time.Sub(r.last) < closeAfter)
}

// book counts a match.
func (e *episode) book(m Match, keepLead int) {
	if m.Time.Before(e.first) {
		e.first = m.Time
	}
	if m.Time.After(e.last) {
		e.last = m.Time
	}
	e.bootID = cmp.Or(e.bootID, m.BootID)
	e.count += m.Count
	e.suppressed += m.Suppressed
	if e.lead.Len() < keepLead {
		e.lead.Add(m.Time)
	}
}

// take adds what another episode counts.
func (e *episode) take(x episode) {
	if x.first.Before(e.first) {
		e.first = x.first
	}
	if x.last.After(e.last) {
		e.last = x.last
	}
	e.bootID = cmp.Or(e.bootID, x.bootID)
	e.count += x.count
	e.suppressed += x.suppressed
}

// Incidents returns the incidents of all matches so far, by opening time. Episodes of several streams that overlap
// within closeAfter are one incident, with the largest count of any one stream.
func (h *History) Incidents() []Past {
	type part struct {
		source string
		*episode
	}
	parts := map[historyKey][]part{}
	for key, s := range h.streams {
		for inode, list := range s.episodes {
			for _, e := range list {
				k := historyKey{key.host, inode}
				parts[k] = append(parts[k], part{key.source, e})
			}
		}
	}
	out := make([]Past, 0, h.episodes)
	for key, list := range parts {
		slices.SortFunc(list, func(a, b part) int {
			return cmp.Or(a.first.Compare(b.first), cmp.Compare(a.source, b.source))
		})
		var open *merged
		for _, p := range list {
			if open == nil || p.first.Sub(open.last) >= h.closeAfter {
				if open != nil {
					out = append(out, open.past(key, h.closeAfter))
				}
				open = newMerged(p.episode)
			}
			open.add(p.source, p.episode)
		}
		if open != nil {
			out = append(out, open.past(key, h.closeAfter))
		}
	}
	slices.SortFunc(out, func(a, b Past) int {
		return cmp.Or(a.OpenedAt.Compare(b.OpenedAt), cmp.Compare(a.Host, b.Host),
			cmp.Compare(a.NetNS.Inode, b.NetNS.Inode))
	})
	return out
}

// merged is an incident in the making, from the episodes of several streams.
type merged struct {
	*episode
	counts     map[string]int
	suppressed map[string]int
	leads      map[string]*Times
}

func newMerged(e *episode) *merged {
	return &merged{
		episode: &episode{host: e.host, bootID: e.bootID, first: e.first},
		counts:  map[string]int{}, suppressed: map[string]int{}, leads: map[string]*Times{},
	}
}

func (m *merged) add(source string, e *episode) {
	if e.last.After(m.last) {
		m.last = e.last
	}
	m.host = cmp.Or(m.host, e.host)
	m.bootID = cmp.Or(m.bootID, e.bootID)
	m.counts[source] += e.count
	m.suppressed[source] += e.suppressed
	if m.leads[source] == nil {
		m.leads[source] = &Times{}
	}
	m.leads[source].addAll(e.lead, maxLead)
}

func (m *merged) past(key historyKey, closeAfter time.Duration) Past {
	leader := Largest(m.counts)
	closed := m.last.Add(closeAfter)
	if closed.Year() > 9999 {
		closed = m.last // JSON knows no later year
	}
	p := Past{Lead: m.leads[leader].sorted(), Incident: Incident{
		Severity: SeverityCritical, BootID: m.bootID, Host: m.host, NetNS: NetNS{Inode: key.netns},
		OpenedAt: m.first, ClosedAt: &closed, Matches: m.counts[leader],
		Suppressed: m.suppressed[Largest(m.suppressed)], PerSource: m.counts, Historical: true,
	}}
	if key.netns == 0 {
		p.NetNS.Name, p.NetNS.Init = "init", true
	}
	return p
}

// Largest returns the key with the largest count, the first in order among equals; "" for an empty map.
func Largest(counts map[string]int) string {
	best := ""
	for key, n := range counts {
		if best == "" || n > counts[best] || n == counts[best] && key < best {
			best = key
		}
	}
	return best
}

// HostLabel is a host name as it is compared: its first label, of an address the whole, in lower case.
func HostLabel(host string) string {
	host = strings.ToLower(host)
	if strings.Trim(host, "0123456789.") == "" || strings.Contains(host, ":") {
		return host
	}
	label, _, _ := strings.Cut(host, ".")
	return label
}
