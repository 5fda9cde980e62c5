package hub

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub/web"
	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// Status implements web.Hub.
func (h *Hub) Status() web.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := web.Status{
		Version: h.o.Version, Hub: h.o.Name, Leader: h.leader.Hub, Leading: h.leading != nil, Connected: h.connected,
		Since: h.since, Loaded: h.fleet != nil, Problem: h.problem, Events: h.tally.events, Duplicates: h.tally.again, Pending: h.backlog.pending.Load(),
		Foreign: h.tally.foreign, Unprinted: h.tally.unprinted,
	}
	if at := h.backlog.saved.Load(); s.Pending > 0 && at > 0 {
		s.Lag = time.Since(time.Unix(0, at))
	}
	switch {
	case !h.connected && h.away != "":
		s.Problem = "this hub does not reach NATS, what is shown is not of now: " + h.away
	default:
		s.Deaf = h.deaf(time.Now())
		s.Problem = cmp.Or(s.Problem, s.Deaf, h.room.problem)
	}
	s.Senders = h.senders()
	if h.fleet == nil {
		return s
	}
	s.Silences = h.fleet.Silences()
	h.summarize(time.Now())
	s.Holds, s.Rollout, s.DeadLetters = h.summary.holds, h.summary.rollout, h.summary.dead
	s.Budget.PerHour = h.set.Fleet.StepsPerHour
	s.Budget.Used = h.fleet.StepsUsed()
	s.Budget.Spent = slices.ContainsFunc(h.control.Holds, func(o hold) bool { return o.Budget != "" && !o.over(time.Now()) })
	return s
}

// summary is what takes a look at every host and every page. It is made anew every second at most, for a twentieth of the
// time at most, or when the orders change.
type summary struct {
	at      time.Time
	took    time.Duration
	rev     uint64
	holds   []web.Hold
	rollout web.Rollout
	dead    []web.DeadLetter
}

// summarize brings the summary up to date. The caller holds mu.
func (h *Hub) summarize(now time.Time) {
	if now.Sub(h.summary.at) < max(time.Second, readShare*h.summary.took) && h.summary.rev == h.control.Rev {
		return
	}
	begun := time.Now()
	defer func() { h.summary.took = time.Since(begun) }()
	h.summary = summary{at: now, rev: h.control.Rev, rollout: h.rollout()}
	for _, d := range h.fleet.DeadPages() {
		h.summary.dead = append(h.summary.dead, deadLetter(d))
	}
	for _, o := range h.control.Holds {
		if !o.over(now) {
			h.summary.holds = append(h.summary.holds, *h.heldBy(o))
		}
	}
}

// hold is a hold as the page shows it; nil: it is newer than the summary.
func (s summary) hold(o hold) *web.Hold {
	for _, h := range s.holds {
		if h.Site == o.Site && h.Host == o.Host && h.By == o.By && h.Since.Equal(o.Since) {
			return &h
		}
	}
	return nil
}

// senders are those of this term, or those that the configuration has, where another hub leads. The caller holds mu.
func (h *Hub) senders() (all []web.Sender) {
	for _, c := range h.set.Senders {
		w := web.Sender{Name: c.Name, Kind: c.Kind()}
		if h.leading != nil && h.leading.queues.all[c.Name] != nil {
			q := h.leading.queues.all[c.Name]
			st := q.Status()
			w.Waiting, w.Delivered, w.Retried, w.Dead, w.Error, w.At = st.Waiting, st.Delivered, st.Retries, st.Dead, st.Problem, st.Since
		}
		all = append(all, w)
	}
	return all
}

// deadLetter is a page that was given up, as saved with its incident: every hub shows it, also after a restart.
func deadLetter(d fleet.DeadPage) web.DeadLetter {
	return web.DeadLetter{
		ID: d.State.ID, Sender: d.State.To, Incident: d.Page.Group, Title: oncall.Title(d.Page.Notification), Action: string(d.State.Action),
		At: d.State.At, Attempts: d.State.Attempts, Error: d.State.Err,
	}
}

// heldBy is a hold as the page shows it, with what the hosts' states say of it. The caller holds mu.
func (h *Hub) heldBy(o hold) *web.Hold {
	w := &web.Hold{Site: o.Site, Host: o.Host, Since: o.Since, Until: o.Until, By: o.By, Why: o.Why, Budget: o.Budget != ""}
	now := time.Now()
	refused := map[string]notify.CommandReason{}
	if h.leading != nil && h.leading.orders.tallies[o.ID] != nil {
		refused = h.leading.orders.tallies[o.ID].answers
	}
	h.hosts.each(func(s hostState, seen time.Time) {
		if !o.reaches(s.Site, s.Host) || now.Sub(seen) > HostTTL {
			return
		}
		reason, answered := refused[notify.HostKey(s.Site, s.Host)]
		switch {
		case s.Fleet.Hold || answered && reason == "":
			w.Done++
		case answered:
			w.Refused++
		default:
			w.Missing++
		}
	})
	w.Reached = w.Done + w.Refused
	return w
}

// rollout counts the hosts on their way to mode remediate. The caller holds mu.
func (h *Hub) rollout() web.Rollout {
	var r web.Rollout
	for _, sel := range h.set.Fleet.Rollout {
		r.Matchers = append(r.Matchers, words(sel.Site, sel.Labels))
	}
	if len(r.Matchers) == 0 {
		return r
	}
	h.hosts.each(func(s hostState, _ time.Time) {
		if h.fleet.Mode(s.Site, s.Host) != remediate.ModeRemediate {
			return
		}
		r.Hosts++
		switch {
		case s.Fleet.Awaits && s.Fleet.Mode == remediate.ModeRemediate:
			r.Remediating++
		case !s.Fleet.Awaits:
			r.Unwilling++
		}
	})
	return r
}

// words is a selector in one line.
func words(site string, labels map[string]string) string {
	var parts []string
	if site != "" {
		parts = append(parts, "site="+site)
	}
	return strings.Join(append(parts, pairs(labels)...), " ")
}

// pairs are labels as "name=value", in order.
func pairs(labels map[string]string) []string {
	out := make([]string, 0, len(labels))
	for name, value := range labels {
		out = append(out, fmt.Sprintf("%s=%s", name, value))
	}
	slices.Sort(out)
	return out
}
