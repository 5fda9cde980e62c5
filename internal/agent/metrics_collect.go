package agent

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/internal/exposition"
	"github.com/ctwarden/ctwarden/remediate"
)

// statusWithin bounds how long one scrape waits for the loop.
const statusWithin = 5 * time.Second

// metricSet holds every metric.
type metricSet struct {
	records, matches, lost, sourceUp, sourceLag, sourceLast exposition.Metric
	entries, limit, buckets, drops, earlyDrops              exposition.Metric
	chainDrops, insertFailed                                exposition.Metric
	incidentsOpen, incidents, steps, pausedRefused          exposition.Metric
	outbox, eventsDropped, eventsUnsaved, stateSaved        exposition.Metric
	natsConnected, natsProblem, buildVersion, pages         exposition.Metric
}

func newMetricSet() metricSet {
	return metricSet{
		records:       exposition.Counter("records_total", "Log records read, of any kind.", "source"),
		matches:       exposition.Counter("matches_total", "Records that say that the table is full, as read, before deduplication.", "source"),
		lost:          exposition.Counter("records_lost_total", "Records lost before they could be read; about, where a log file is truncated while it is written to.", "source"),
		sourceUp:      exposition.Gauge("source_up", "1 where the source is read, 0 where it has a problem.", "source"),
		sourceLag:     exposition.Gauge("source_lag_seconds", "How late the last record was read, or how long a fault of the source has lasted.", "source"),
		sourceLast:    exposition.Gauge("source_last_record_timestamp_seconds", "When the last record was written; 0: none was read yet.", "source"),
		entries:       exposition.Gauge("conntrack_entries", "Entries in the connection-tracking table.", "netns"),
		limit:         exposition.Gauge("conntrack_limit", "The limit on entries, nf_conntrack_max."),
		buckets:       exposition.Gauge("conntrack_buckets", "Buckets of the hash table."),
		drops:         exposition.Counter("conntrack_drops_total", "Packets refused, by the kernel's counter drop.", "netns"),
		earlyDrops:    exposition.Counter("conntrack_early_drops_total", "Entries thrown out to make room, by the kernel's counter early_drop.", "netns"),
		chainDrops:    exposition.Counter("conntrack_chain_drops_total", "Entries refused because their hash chain was too long, by the kernel's counter chainlength.", "netns"),
		insertFailed:  exposition.Counter("conntrack_insert_failed_total", "Entries that lost a race for their place, by the kernel's counter insert_failed.", "netns"),
		incidentsOpen: exposition.Gauge("incidents_open", "Incidents that are open now.", "severity"),
		incidents:     exposition.Counter("incidents_total", "Incidents opened since the agent's start."),
		steps:         exposition.Counter("steps_total", "Changes of the limit by result and reason, since the agent's start.", "reason", "result"),
		pausedRefused: exposition.Counter("foreign_pause_refused_total", "Packets refused and entries thrown out while automatic steps kept still after somebody else's change of the limit, since the agent's start."),
		outbox:        exposition.Gauge("outbox_events", "Events that NATS has not acknowledged yet."),
		eventsDropped: exposition.Counter("events_dropped_total", "Events dropped because the outbox was full, or it or the host's journal could not be written."),
		eventsUnsaved: exposition.Gauge("outbox_unsaved_events", "Events that wait in memory because the disk does not take them."),
		stateSaved:    exposition.Gauge("state_saved", "1 while the state file takes what is to survive a restart."),
		natsConnected: exposition.Gauge("nats_connected", "1 while the connection to NATS stands."),
		natsProblem:   exposition.Gauge("nats_problem", "1 while something does not get through to NATS, by the reason; ctwarden status says it in full.", "reason"),
		pages:         exposition.Counter("pages_total", "Pages by their sender and what became of them, since the agent's start; retried counts attempts that failed.", "result", "sender"),
		buildVersion:  exposition.Gauge("build_info", "1, with the version as labels.", "goversion", "version"),
	}
}

// collector makes the metrics from one status at each scrape, so that they cannot disagree with what "ctwarden
// status" says. It may be collected from several goroutines.
type collector struct {
	status func(context.Context) (Status, error)
	set    metricSet

	mu   sync.Mutex // guards book
	book *netnsBook
}

func newCollector(status func(context.Context) (Status, error)) *collector {
	return &collector{status: status, set: newMetricSet(), book: newNetnsBook(ownLabels)}
}

// collect is the answer to a scrape. A loop that does not answer makes the scrape fail, rather than show old values.
func (c *collector) collect(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	// Under the lock from status to book: two scrapes at once must be booked in the order of their snapshots.
	c.mu.Lock()
	defer c.mu.Unlock()
	st, err := c.status(ctx)
	if err != nil {
		return "", fmt.Errorf("the agent does not answer: %w", err)
	}
	var e exposition.Scrape
	c.sources(st, e.Send)
	c.tables(st, e.Send)
	c.incidents(st, e.Send)
	c.delivery(st, e.Send)
	e.Send(c.set.buildVersion, 1, runtime.Version(), st.Version)
	return e.Text()
}

// sendFunc is [exposition.Scrape.Send].
type sendFunc func(m exposition.Metric, value float64, values ...string)

// sources adds up the streams of each kind. A kind is up while one of its streams is and none that is used has a
// problem.
func (c *collector) sources(st Status, send sendFunc) {
	for _, kind := range []remediate.Source{remediate.SourceKmsg, remediate.SourceJournal, remediate.SourceSyslog} {
		var records, matches, lost uint64
		var lag, last float64
		any, up, problem := false, false, false
		for _, s := range st.Sources {
			if s.Source != kind {
				continue
			}
			any, up, problem = true, up || s.Up, problem || s.Problem != "" && !s.Unused
			records, matches, lost = records+s.Records, matches+s.Matches, lost+s.Lost
			lag = max(lag, s.LagSeconds)
			if !s.LastRecord.IsZero() {
				last = max(last, float64(s.LastRecord.UnixMilli())/1000)
			}
		}
		if !any {
			continue
		}
		send(c.set.records, float64(records), string(kind))
		send(c.set.matches, float64(matches), string(kind))
		send(c.set.lost, float64(lost), string(kind))
		send(c.set.sourceUp, truth(up && !problem), string(kind))
		send(c.set.sourceLag, lag, string(kind))
		send(c.set.sourceLast, last, string(kind))
	}
}

func (c *collector) tables(st Status, send sendFunc) {
	send(c.set.limit, float64(st.Limits.Max))
	send(c.set.buckets, float64(st.Limits.Buckets))
	for _, row := range c.book.book(st.NetNS) {
		send(c.set.entries, float64(row.entries), row.label)
		if row.blind {
			continue
		}
		send(c.set.drops, float64(row.counters.Drop), row.label)
		send(c.set.earlyDrops, float64(row.counters.EarlyDrop), row.label)
		send(c.set.chainDrops, float64(row.counters.ChainLength), row.label)
		send(c.set.insertFailed, float64(row.counters.InsertFailed), row.label)
	}
}

func (c *collector) incidents(st Status, send sendFunc) {
	open := map[remediate.Severity]int{}
	for _, in := range st.Incidents {
		if in.ClosedAt == nil {
			open[in.Severity]++
		}
	}
	for _, severity := range []remediate.Severity{remediate.SeverityWarning, remediate.SeverityCritical} {
		send(c.set.incidentsOpen, float64(open[severity]), string(severity))
	}
	send(c.set.incidents, float64(st.IncidentsTotal))
	send(c.set.pausedRefused, float64(st.RefusedInPause))
	for _, t := range st.StepsTotal {
		send(c.set.steps, float64(t.Count), string(t.Reason), t.Result)
	}
}

func (c *collector) delivery(st Status, send sendFunc) {
	send(c.set.outbox, float64(st.Outbox.Events))
	send(c.set.eventsDropped, float64(st.Outbox.Dropped+st.Outbox.JournalDropped))
	send(c.set.eventsUnsaved, float64(st.Outbox.Unsaved))
	send(c.set.stateSaved, truth(st.State.Saved))
	send(c.set.natsConnected, truth(st.NATS.Connected))
	if st.NATS.Problem != "" {
		send(c.set.natsProblem, 1, string(st.NATS.Problem))
	}
	for _, s := range st.Oncall {
		send(c.set.pages, float64(s.Delivered), "delivered", s.Name)
		send(c.set.pages, float64(s.Replaced), "replaced", s.Name)
		send(c.set.pages, float64(s.Dead), "dead", s.Name)
		send(c.set.pages, float64(s.Retries), "retried", s.Name)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
