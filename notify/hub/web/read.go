package web

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/remediate"
)

// How much a list has at most.
const (
	listFirst = 200  // incidents in a message of the changes
	listMost  = 1000 // rows and incidents of an answer
)

// hostList is the answer of /api/v1/hosts.
type hostList struct {
	// Total is how many match; Hosts are the first of them.
	Total int   `json:"total"`
	Hosts []Row `json:"hosts"`
}

// getHosts lists hosts by site and name, for programs; the page has the columns.
func (h *Handler) getHosts(w http.ResponseWriter, r *http.Request) {
	f, limit, problem := hostFilterOf(r)
	if problem != "" {
		refuse(w, http.StatusBadRequest, problem)
		return
	}
	h.refresh()
	h.sendJSON(w, r, h.board.list(f, limit))
}

// hostFilter chooses hosts; what is zero chooses all.
type hostFilter struct {
	site, text, label, state string
	fill                     float64
}

func hostFilterOf(r *http.Request) (f hostFilter, limit int, problem string) {
	q := r.URL.Query()
	f = hostFilter{site: q.Get("site"), text: strings.ToLower(q.Get("host")), label: q.Get("label"), state: q.Get("state")}
	limit, problem = limitOf(r)
	if text := q.Get("min_fill"); text != "" {
		var err error
		if f.fill, err = strconv.ParseFloat(text, 64); err != nil || !(f.fill >= 0 && f.fill <= 1) {
			problem = "min_fill: a share of the limit from 0 to 1, such as 0.8"
		}
	}
	if _, known := stateFlags[f.state]; !known {
		problem = "state: one of silent, stopped, incident, critical, warning, held"
	}
	return f, limit, problem
}

// stateFlags are the words for states, with the flags of which a host must have one.
var stateFlags = map[string]uint32{
	"": 0, "silent": flagSilent, "stopped": flagStopped, "incident": flagWarning | flagCritical, "critical": flagCritical,
	"warning": flagWarning, "held": flagHeld,
}

// limitOf reads limit, by default 100.
func limitOf(r *http.Request) (limit int, problem string) {
	text := cmp.Or(r.URL.Query().Get("limit"), "100")
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > listMost {
		return 0, "limit: a number from 1 to " + strconv.Itoa(listMost)
	}
	return limit, ""
}

// list is the hosts that f chooses, the first of them in full.
func (b *board) list(f hostFilter, limit int) hostList {
	b.mu.Lock() // for the order
	defer b.mu.Unlock()
	out := hostList{Hosts: []Row{}}
	need := stateFlags[f.state]
	for _, place := range b.sorted() {
		row := &b.rows[place]
		if row.flags&flagGone != 0 || need != 0 && row.flags&need == 0 || !b.matches(row, f) {
			continue
		}
		if out.Total++; len(out.Hosts) < limit {
			out.Hosts = append(out.Hosts, b.row(row))
		}
	}
	return out
}

func (b *board) matches(row *boardRow, f hostFilter) bool {
	return (f.site == "" || b.sites.values[row.site] == f.site) &&
		(f.text == "" || strings.Contains(strings.ToLower(row.host), f.text)) &&
		(f.label == "" || slices.Contains(splitLabels(b.labels.values[row.labelSet]), f.label)) &&
		(f.fill == 0 || row.max > 0 && float64(row.count) >= f.fill*float64(row.max))
}

// row is the board's row as it was taken.
func (b *board) row(row *boardRow) Row {
	r := Row{
		Site: b.sites.values[row.site], Host: row.host, Version: b.versions.values[row.version], Mode: modeOf(row.flags),
		Labels: splitLabels(b.labels.values[row.labelSet]), Count: uint64(row.count), Max: uint64(row.max),
		Refused: uint64(row.refused), Severity: severityOf(row.flags), Silent: row.flags&flagSilent != 0,
		Stopped: row.flags&flagStopped != 0, Held: row.flags&flagHeld != 0,
	}
	if row.seen > 0 {
		r.Seen = time.Unix(int64(row.seen), 0).UTC()
	}
	return r
}

func (h *Handler) getHost(w http.ResponseWriter, r *http.Request) {
	d, err := h.cfg.Fleet.Host(r.Context(), r.PathValue("site"), r.PathValue("host"))
	if err != nil {
		h.refuseFor(w, r, err)
		return
	}
	slices.SortFunc(d.Incidents, func(a, b fleet.HostIncident) int { return b.OpenedAt.Compare(a.OpenedAt) })
	d.Points, d.Steps, d.Incidents = orEmpty(d.Points), orEmpty(d.Steps), orEmpty(d.Incidents)
	h.sendJSON(w, r, d)
}

// orEmpty has an empty list written as [], which a reader need not tell from a missing one.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// incidentList is the answer of /api/v1/incidents.
type incidentList struct {
	Open  int `json:"open"`
	Total int `json:"total"`
	// Incidents are the open ones first, each part by its last change, newest first.
	Incidents []fleet.Group `json:"incidents"`
}

func (h *Handler) getIncidents(w http.ResponseWriter, r *http.Request) {
	limit, problem := limitOf(r)
	if problem != "" {
		refuse(w, http.StatusBadRequest, problem)
		return
	}
	h.sendJSON(w, r, h.incidentList(limit))
}

// incidentList leaves out what was merged into another before anybody was told of it.
func (h *Handler) incidentList(limit int) incidentList {
	all := slices.DeleteFunc(h.cfg.Incidents.Groups(), func(g fleet.Group) bool { return g.MergedInto != "" })
	slices.SortFunc(all, byImportance)
	out := incidentList{Total: len(all), Incidents: []fleet.Group{}}
	for _, one := range all {
		if isOpen(one) {
			out.Open++
		}
	}
	for _, one := range all[:min(limit, len(all))] {
		one.Timeline = nil
		out.Incidents = append(out.Incidents, complete(one))
	}
	return out
}

// isOpen leaves out what was found in old records, which concerns nobody now.
func isOpen(g fleet.Group) bool { return g.ClosedAt.IsZero() && !g.Historical }

// byImportance puts open incidents first, of these the critical, and then what changed last.
func byImportance(a, b fleet.Group) int {
	rank := func(g fleet.Group) int {
		switch {
		case !isOpen(g):
			return 2
		case g.Severity != remediate.SeverityCritical:
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), b.ChangedAt.Compare(a.ChangedAt), cmp.Compare(a.ID, b.ID))
}

// complete has empty lists where there were none.
func complete(g fleet.Group) fleet.Group {
	g.Sample, g.Pages, g.Timeline = orEmpty(g.Sample), orEmpty(g.Pages), orEmpty(g.Timeline)
	if g.Sites == nil {
		g.Sites = map[string]int{}
	}
	return g
}

func (h *Handler) getIncident(w http.ResponseWriter, r *http.Request) {
	one, err := h.cfg.Incidents.Group(r.Context(), r.PathValue("id"))
	if err != nil {
		h.refuseFor(w, r, err)
		return
	}
	h.sendJSON(w, r, complete(one))
}

func (h *Handler) getStatus(w http.ResponseWriter, r *http.Request) {
	s := h.cfg.Hub.Status()
	s.Senders, s.DeadLetters, s.Silences = orEmpty(s.Senders), orEmpty(s.DeadLetters), orEmpty(s.Silences)
	s.Holds, s.Rollout.Matchers = orEmpty(s.Holds), orEmpty(s.Rollout.Matchers)
	h.sendJSON(w, r, s)
}
