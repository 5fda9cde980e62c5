package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/exposition"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

func netns(inode uint64, name string, count, drop, early uint64) NetNSStatus {
	return NetNSStatus{NetNS: remediate.NetNS{Inode: inode, Name: name, Init: name == "init"}, Count: count,
		Counters: remediate.Counters{Drop: drop, EarlyDrop: early}}
}

// busyStatus has a distinct value for every metric.
func busyStatus() Status {
	return Status{
		Version: "1.2.3", Limits: remediate.Limits{Max: 65536, Buckets: 16384},
		NetNS: []NetNSStatus{netns(1, "init", 101, 11, 12), netns(2, "blue", 102, 13, 14)},
		Sources: []SourceStatus{
			{Source: remediate.SourceKmsg, Up: true, Records: 21, Matches: 22, Lost: 23, LagSeconds: 0.5, LastRecord: time.UnixMilli(1700250)},
			{Source: remediate.SourceSyslog, Path: "/a", Up: true, Records: 24, Matches: 25},
			{Source: remediate.SourceSyslog, Path: "/b", Records: 26, Matches: 27, Lost: 28, LagSeconds: 2, Problem: "gone"},
			{Source: remediate.SourceJournal, Up: true},
			{Source: remediate.SourceJournal, Path: "/j", Problem: "not there", Unused: true},
		},
		Incidents:      []remediate.Incident{{Severity: remediate.SeverityCritical}, {Severity: remediate.SeverityCritical}},
		IncidentsTotal: 31, RefusedInPause: 17,
		StepsTotal: []StepTotal{{Result: "applied", Reason: remediate.ReasonFull, Count: 32}},
		State:      StateStatus{Saved: true},
		Outbox:     OutboxStatus{Events: 41, Dropped: 40, Unsaved: 43, JournalDropped: 2}, NATS: NATSStatus{Connected: true, Problem: notify.ProblemFull},
		Oncall: []oncall.Status{{Name: "night", Delivered: 51, Replaced: 52, Dead: 53, Retries: 54}},
	}
}

func statusFunc(s Status) func(context.Context) (Status, error) {
	return func(context.Context) (Status, error) { return s, nil }
}

// busyText is how busyStatus reads in Prometheus' text format.
const busyText = `
# HELP ctwarden_conntrack_buckets Buckets of the hash table.
# TYPE ctwarden_conntrack_buckets gauge
ctwarden_conntrack_buckets 16384
# HELP ctwarden_conntrack_drops_total Packets refused, by the kernel's counter drop.
# TYPE ctwarden_conntrack_drops_total counter
ctwarden_conntrack_drops_total{netns="blue"} 13
ctwarden_conntrack_drops_total{netns="init"} 11
# HELP ctwarden_conntrack_early_drops_total Entries thrown out to make room, by the kernel's counter early_drop.
# TYPE ctwarden_conntrack_early_drops_total counter
ctwarden_conntrack_early_drops_total{netns="blue"} 14
ctwarden_conntrack_early_drops_total{netns="init"} 12
# HELP ctwarden_conntrack_entries Entries in the connection-tracking table.
# TYPE ctwarden_conntrack_entries gauge
ctwarden_conntrack_entries{netns="blue"} 102
ctwarden_conntrack_entries{netns="init"} 101
# HELP ctwarden_conntrack_limit The limit on entries, nf_conntrack_max.
# TYPE ctwarden_conntrack_limit gauge
ctwarden_conntrack_limit 65536
# HELP ctwarden_events_dropped_total Events dropped because the outbox was full, or it or the host's journal could not be written.
# TYPE ctwarden_events_dropped_total counter
ctwarden_events_dropped_total 42
# HELP ctwarden_foreign_pause_refused_total Packets refused and entries thrown out while automatic steps kept still after somebody else's change of the limit, since the agent's start.
# TYPE ctwarden_foreign_pause_refused_total counter
ctwarden_foreign_pause_refused_total 17
# HELP ctwarden_incidents_open Incidents that are open now.
# TYPE ctwarden_incidents_open gauge
ctwarden_incidents_open{severity="critical"} 2
ctwarden_incidents_open{severity="warning"} 0
# HELP ctwarden_incidents_total Incidents opened since the agent's start.
# TYPE ctwarden_incidents_total counter
ctwarden_incidents_total 31
# HELP ctwarden_matches_total Records that say that the table is full, as read, before deduplication.
# TYPE ctwarden_matches_total counter
ctwarden_matches_total{source="journal"} 0
ctwarden_matches_total{source="kmsg"} 22
ctwarden_matches_total{source="syslog"} 52
# HELP ctwarden_nats_connected 1 while the connection to NATS stands.
# TYPE ctwarden_nats_connected gauge
ctwarden_nats_connected 1
# HELP ctwarden_nats_problem 1 while something does not get through to NATS, by the reason; ctwarden status says it in full.
# TYPE ctwarden_nats_problem gauge
ctwarden_nats_problem{reason="full"} 1
# HELP ctwarden_outbox_events Events that NATS has not acknowledged yet.
# TYPE ctwarden_outbox_events gauge
ctwarden_outbox_events 41
# HELP ctwarden_outbox_unsaved_events Events that wait in memory because the disk does not take them.
# TYPE ctwarden_outbox_unsaved_events gauge
ctwarden_outbox_unsaved_events 43
# HELP ctwarden_pages_total Pages by their sender and what became of them, since the agent's start; retried counts attempts that failed.
# TYPE ctwarden_pages_total counter
ctwarden_pages_total{result="dead",sender="night"} 53
ctwarden_pages_total{result="delivered",sender="night"} 51
ctwarden_pages_total{result="replaced",sender="night"} 52
ctwarden_pages_total{result="retried",sender="night"} 54
# HELP ctwarden_records_lost_total Records lost before they could be read; about, where a log file is truncated while it is written to.
# TYPE ctwarden_records_lost_total counter
ctwarden_records_lost_total{source="journal"} 0
ctwarden_records_lost_total{source="kmsg"} 23
ctwarden_records_lost_total{source="syslog"} 28
# HELP ctwarden_records_total Log records read, of any kind.
# TYPE ctwarden_records_total counter
ctwarden_records_total{source="journal"} 0
ctwarden_records_total{source="kmsg"} 21
ctwarden_records_total{source="syslog"} 50
# HELP ctwarden_source_lag_seconds How late the last record was read, or how long a fault of the source has lasted.
# TYPE ctwarden_source_lag_seconds gauge
ctwarden_source_lag_seconds{source="journal"} 0
ctwarden_source_lag_seconds{source="kmsg"} 0.5
ctwarden_source_lag_seconds{source="syslog"} 2
# HELP ctwarden_source_last_record_timestamp_seconds When the last record was written; 0: none was read yet.
# TYPE ctwarden_source_last_record_timestamp_seconds gauge
ctwarden_source_last_record_timestamp_seconds{source="journal"} 0
ctwarden_source_last_record_timestamp_seconds{source="kmsg"} 1700.25
ctwarden_source_last_record_timestamp_seconds{source="syslog"} 0
# HELP ctwarden_source_up 1 where the source is read, 0 where it has a problem.
# TYPE ctwarden_source_up gauge
ctwarden_source_up{source="journal"} 1
ctwarden_source_up{source="kmsg"} 1
ctwarden_source_up{source="syslog"} 0
# HELP ctwarden_state_saved 1 while the state file takes what is to survive a restart.
# TYPE ctwarden_state_saved gauge
ctwarden_state_saved 1
# HELP ctwarden_steps_total Changes of the limit by result and reason, since the agent's start.
# TYPE ctwarden_steps_total counter
ctwarden_steps_total{reason="full",result="applied"} 32
`

func TestCollector(t *testing.T) {
	if n := strings.Count(busyText, "# TYPE"); n != 22 {
		t.Fatalf("the test names %d metrics", n)
	}
	got, err := newCollector(statusFunc(busyStatus())).collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// What the kernel is not seen to count is 0, and the version of the compiler is not known beforehand.
	var shown []string
	for line := range strings.Lines(got) {
		if name := metricName(line); strings.Contains(busyText, "# TYPE "+name+" ") {
			shown = append(shown, line)
		}
	}
	if text := "\n" + strings.Join(shown, ""); text != busyText {
		t.Errorf("got\n%s\nwant\n%s", text, busyText)
	}
	if want := fmt.Sprintf("\nctwarden_build_info{goversion=%q,version=\"1.2.3\"} 1\n", runtime.Version()); !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
	problems, err := promlint.New(strings.NewReader(got)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// metricName is whose line it is.
func metricName(line string) string {
	if f := strings.Fields(line); f[0] == "#" {
		return f[2]
	}
	return line[:strings.IndexAny(line, "{ ")]
}

func TestMetricsServer(t *testing.T) {
	ready := make(chan struct{})
	failing := errors.New("stuck")
	var fail bool
	m, err := ListenMetrics(MetricsConfig{Listen: "127.0.0.1:0", Ready: ready, Log: zap.NewNop(),
		Status: func(context.Context) (Status, error) {
			if fail {
				return Status{}, failing
			}
			return busyStatus(), nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	get := func(path string, wantCode int, wantText string) {
		t.Helper()
		resp, err := http.Get("http://" + m.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != wantCode || !strings.Contains(string(body), wantText) {
			t.Errorf("%s: got %d %.200q, %v, want %d with %q", path, resp.StatusCode, body, err, wantCode, wantText)
		}
	}
	get("/metrics", 503, "not ready")
	get("/healthz", 200, "ok")
	close(ready)
	get("/metrics", 200, "ctwarden_conntrack_limit 65536")
	if kind := headerOf(t, "http://"+m.Addr().String()+"/metrics", "Content-Type"); kind != exposition.ContentType {
		t.Errorf("Content-Type %q", kind)
	}
	get("/nothing", 404, "")
	fail = true
	get("/metrics", 500, "stuck")
	get("/healthz", 503, "stuck")
	if _, err := ListenMetrics(MetricsConfig{Listen: m.Addr().String()}); err == nil || !strings.Contains(err.Error(), "another program uses this address") {
		t.Errorf("the address twice: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
}

func headerOf(t *testing.T, url, name string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header.Get(name)
}

// TestScrapesAtOnce: more scrapes than there are places are refused at once, and make no other wait longer.
func TestScrapesAtOnce(t *testing.T) {
	answer := make(chan struct{})
	m := &Metrics{cfg: MetricsConfig{Log: zap.NewNop(), Status: func(context.Context) (Status, error) {
		<-answer
		return busyStatus(), nil
	}}}
	handler := m.scrapes()
	scrape := func() int {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		return w.Code
	}
	codes := make(chan int, maxScrapes+1)
	for range maxScrapes + 1 {
		go func() { codes <- scrape() }()
	}
	if code := <-codes; code != http.StatusServiceUnavailable {
		t.Errorf("one too many got %d", code)
	}
	close(answer)
	for range maxScrapes {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("got %d", code)
		}
	}
	if code := scrape(); code != http.StatusOK {
		t.Errorf("with all places free again: %d", code)
	}
}

func TestNetnsBook(t *testing.T) {
	tests := []struct {
		name  string
		snaps [][]NetNSStatus
		want  string // label entries drops/early of the last snapshot, with two labels of their own
	}{
		{"the first namespace always has its own",
			[][]NetNSStatus{{netns(1, "init", 0, 1, 0), netns(2, "a", 50, 2, 0), netns(3, "b", 60, 3, 0)}},
			"init 0 1/0, b 60 3/0, other 50 2/0"},
		{"growth goes where the namespace stands",
			[][]NetNSStatus{
				{netns(1, "init", 9, 0, 0), netns(2, "a", 5, 10, 0), netns(3, "b", 4, 20, 0)},
				{netns(1, "init", 9, 0, 0), netns(2, "a", 3, 11, 0), netns(3, "b", 4, 25, 7)},
			},
			"init 9 0/0, b 4 5/7, other 3 21/0"},
		{"back again",
			[][]NetNSStatus{
				{netns(1, "init", 9, 0, 0), netns(2, "a", 5, 10, 0), netns(3, "b", 4, 20, 0)},
				{netns(1, "init", 9, 0, 0), netns(2, "a", 3, 11, 0), netns(3, "b", 4, 25, 0)},
				{netns(1, "init", 9, 0, 0), netns(2, "a", 5, 12, 0), netns(3, "b", 4, 25, 0)},
			},
			"init 9 0/0, a 5 11/0, other 4 21/0"},
		{"two of one name", [][]NetNSStatus{{netns(1, "init", 9, 0, 0), netns(2, "init", 8, 5, 0)}}, "init 9 0/0, init (2) 8 5/0"},
		{"a new one of the same name goes on",
			[][]NetNSStatus{{netns(2, "a", 5, 10, 0)}, {netns(7, "a", 1, 3, 0)}}, "a 1 13/0"},
		{"one that comes back goes on",
			[][]NetNSStatus{{netns(2, "a", 5, 10, 0)}, {}, {netns(2, "a", 5, 12, 0)}}, "a 5 12/0"},
		{"an inode used again", [][]NetNSStatus{{netns(2, "a", 5, 10, 0)}, {netns(2, "a", 5, 3, 0)}}, "a 5 13/0"},
		{"no name", [][]NetNSStatus{{netns(2, "", 5, 10, 0), netns(3, "other", 4, 1, 0)}}, "netns 2 5 10/0, netns 3 4 1/0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newNetnsBook(2)
			var rows []netnsRow
			for _, snap := range tt.snaps {
				rows = b.book(snap)
			}
			var got []string
			for _, r := range rows {
				got = append(got, fmt.Sprintf("%s %d %d/%d", r.label, r.entries, r.counters.Drop, r.counters.EarlyDrop))
			}
			if text := strings.Join(got, ", "); text != tt.want {
				t.Errorf("got %s, want %s", text, tt.want)
			}
		})
	}
}

// TestNetnsBookNeverGoesBack lets many namespaces come, go, move and be replaced.
func TestNetnsBookNeverGoesBack(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		b := newNetnsBook(ownLabels)
		live := map[uint64]NetNSStatus{}
		before := map[string]netnsRow{}
		var booked, total uint64
		for range 200 {
			total += change(rng, live)
			var snap []NetNSStatus
			for _, s := range live {
				snap = append(snap, s)
			}
			rows := b.book(snap)
			if len(rows) > ownLabels+1 {
				t.Fatalf("seed %d: %d rows", seed, len(rows))
			}
			seen := map[string]bool{}
			for _, r := range rows {
				was := before[r.label]
				if seen[r.label] || r.counters.Drop < was.counters.Drop || r.counters.EarlyDrop < was.counters.EarlyDrop {
					t.Fatalf("seed %d: %+v came after %+v (twice: %v)", seed, r, was, seen[r.label])
				}
				booked += r.counters.Drop - was.counters.Drop
				seen[r.label], before[r.label] = true, r
			}
		}
		if booked != total {
			t.Errorf("seed %d: %d drops booked of %d", seed, booked, total)
		}
	}
}

// change plays what may happen between two scrapes and returns the drops that it adds.
func change(rng *rand.Rand, live map[uint64]NetNSStatus) uint64 {
	var added uint64
	inodes := slices.Sorted(maps.Keys(live))
	for _, inode := range inodes {
		s := live[inode]
		if rng.IntN(20) == 0 {
			delete(live, inode)
			continue
		}
		grown := rng.Uint64N(10)
		s.Count, s.Counters.Drop, s.Counters.EarlyDrop = rng.Uint64N(1000), s.Counters.Drop+grown, s.Counters.EarlyDrop+grown
		added += grown
		live[inode] = s
	}
	for range rng.IntN(4) {
		// A new namespace has an inode that nobody had, and perhaps a name that somebody had or has.
		inode := rng.Uint64()
		live[inode] = netns(inode, fmt.Sprintf("n%d", rng.IntN(60)), rng.Uint64N(1000), 0, 0)
	}
	return added
}

func TestNetnsBookForgets(t *testing.T) {
	b := newNetnsBook(1)
	for i := range uint64(3 * keptGone) {
		b.book([]NetNSStatus{netns(i, fmt.Sprintf("n%d", i), 1, 1, 1)})
	}
	if len(b.pages) > keptGone+1 {
		t.Errorf("%d pages are kept", len(b.pages))
	}
}

// TestNetnsBookNames: names that are no UTF-8 are shown in it, and two namespaces never get one label.
func TestNetnsBookNames(t *testing.T) {
	var spaces []NetNSStatus
	for i, name := range []string{"a\x80", `a\x80`, "a\xff", "a\xfe", "a\uFFFD", "", "other", "netns 5"} {
		spaces = append(spaces, netns(uint64(i), name, 1, 1, 1))
	}
	labels := map[string]bool{}
	for _, row := range newNetnsBook(ownLabels).book(spaces) {
		labels[row.label] = utf8.ValidString(row.label)
	}
	if len(labels) != len(spaces) || slices.Contains(slices.Collect(maps.Values(labels)), false) {
		t.Errorf("labels %q", slices.Sorted(maps.Keys(labels)))
	}
}
