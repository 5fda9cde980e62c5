package web

import (
	"io"
	"net/http"
	"runtime"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/exposition"
	"github.com/ctwarden/ctwarden/remediate"
)

// hubMetrics holds every metric of the hub.
type hubMetrics struct {
	build, connected, loaded, hears, leader  exposition.Metric
	events, duplicates, pending, lag         exposition.Metric
	hosts, held, incidents                   exposition.Metric
	pages, waiting, dead, foreign, unprinted exposition.Metric
	silences, holds, budget, used, followers exposition.Metric
}

func newHubMetrics() hubMetrics {
	return hubMetrics{
		build:      exposition.Gauge("hub_build_info", "1, with the version as labels.", "goversion", "version"),
		connected:  exposition.Gauge("hub_nats_connected", "1 while the connection to NATS stands."),
		loaded:     exposition.Gauge("hub_state_loaded", "1 once the saved state has been read."),
		hears:      exposition.Gauge("hub_hosts_heard", "1 while this hub hears of the hosts' states; while it does not, none is called silent."),
		leader:     exposition.Gauge("hub_leader", "1 where this hub leads."),
		events:     exposition.Counter("hub_events_total", "Events taken by this hub since its start."),
		duplicates: exposition.Counter("hub_events_duplicate_total", "Events among these that the stream had delivered before: a save took longer than it waits, or a hub died."),
		pending:    exposition.Gauge("hub_events_pending", "Events that wait in the stream."),
		lag:        exposition.Gauge("hub_lag_seconds", "For how long the oldest of these has waited."),
		hosts:      exposition.Gauge("hub_hosts", "Hosts by state, each in the first that is true of silent, stopped, critical, warning, ok.", "state"),
		held:       exposition.Gauge("hub_hosts_held", "Hosts that take no automatic step because of a hold."),
		incidents:  exposition.Gauge("hub_incidents_open", "Open incidents of the fleet.", "severity"),
		pages:      exposition.Counter("hub_pages_total", "Messages by sender and result, since this hub's start; retried counts attempts.", "result", "sender"),
		waiting:    exposition.Gauge("hub_pages_waiting", "Messages that wait for their sender.", "sender"),
		dead:       exposition.Gauge("hub_dead_letters", "Messages that were given up on and are kept."),
		foreign:    exposition.Counter("hub_foreign_values_total", "Values in the hubs' bucket that no hub wrote, and that were not followed."),
		unprinted:  exposition.Counter("hub_events_unprinted_total", "Events that this hub did not print, since what reads them is too slow."),
		silences:   exposition.Gauge("hub_silences", "Silences in force."),
		holds:      exposition.Gauge("hub_holds", "Holds in force that the fleet was ordered."),
		budget:     exposition.Gauge("hub_steps_budget", "Automatic steps that the fleet may take in an hour; 0: any number."),
		used:       exposition.Gauge("hub_steps_used", "Automatic steps that the fleet took in the last hour."),
		followers:  exposition.Gauge("hub_page_followers", "Pages that follow the changes."),
	}
}

func (h *Handler) getMetrics(w http.ResponseWriter, _ *http.Request) {
	text, err := h.scrape()
	if err != nil {
		h.cfg.Log.Warn("scrape failed", zap.Error(err))
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", exposition.ContentType)
	_, _ = io.WriteString(w, text) // a scraper that has gone gets nothing
}

func (h *Handler) scrape() (string, error) {
	h.refresh()
	var (
		e   exposition.Scrape
		set = newHubMetrics()
		s   = h.cfg.Hub.Status()
	)
	e.Send(set.build, 1, runtime.Version(), s.Version)
	e.Send(set.connected, truth(s.Connected))
	e.Send(set.loaded, truth(s.Loaded))
	e.Send(set.hears, truth(s.Connected && s.Deaf == ""))
	e.Send(set.leader, truth(s.Leading))
	e.Send(set.events, float64(s.Events))
	e.Send(set.duplicates, float64(s.Duplicates))
	e.Send(set.pending, float64(s.Pending))
	e.Send(set.lag, s.Lag.Seconds())
	e.Send(set.dead, float64(len(s.DeadLetters)))
	e.Send(set.foreign, float64(s.Foreign))
	e.Send(set.unprinted, float64(s.Unprinted))
	e.Send(set.silences, float64(len(s.Silences)))
	e.Send(set.holds, float64(len(s.Holds)))
	e.Send(set.budget, float64(s.Budget.PerHour))
	e.Send(set.used, float64(s.Budget.Used))
	e.Send(set.followers, float64(h.readers.Load()))
	for _, one := range s.Senders {
		e.Send(set.pages, float64(one.Delivered), "delivered", one.Name)
		e.Send(set.pages, float64(one.Retried), "retried", one.Name)
		e.Send(set.pages, float64(one.Dead), "dead", one.Name)
		e.Send(set.waiting, float64(one.Waiting), one.Name)
	}
	h.scrapeFleet(&e, set)
	return e.Text()
}

func (h *Handler) scrapeFleet(e *exposition.Scrape, set hubMetrics) {
	c := h.board.counts()
	for state, n := range map[string]int{
		"silent": c.Silent, "stopped": c.Stopped, "critical": c.Critical, "warning": c.Warning, "ok": c.OK,
	} {
		e.Send(set.hosts, float64(n), state)
	}
	e.Send(set.held, float64(c.Held))
	open := map[remediate.Severity]int{}
	for _, one := range h.cfg.Incidents.Groups() {
		if isOpen(one) {
			open[one.Severity]++
		}
	}
	for _, severity := range []remediate.Severity{remediate.SeverityWarning, remediate.SeverityCritical} {
		e.Send(set.incidents, float64(open[severity]), string(severity))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
