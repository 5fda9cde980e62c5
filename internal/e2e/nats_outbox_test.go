package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// allOf fails the test unless what arrived is, once each, what had waited from before the start, in order, and then what
// the agent's log has. The agent has ended; what it could not send before is still in its outbox.
func (a *agentProcess) allOf(t *testing.T, got, waited []string) {
	t.Helper()
	own := len(a.published())
	before := map[string]bool{}
	for _, id := range waited {
		before[id] = true
	}
	first := got[:min(len(got), len(waited))]
	if strings.Contains(a.output.String(), "state not saved") { // new events are sent from memory then, and may overtake
		first = slices.DeleteFunc(slices.Clone(got), func(id string) bool { return !before[id] })
	}
	if !slices.Equal(first, waited) {
		t.Errorf("%d events arrived, first not the %d of before in order", len(got), len(waited))
	}
	unique := func(ids []string) int {
		ids = slices.Clone(ids)
		slices.Sort(ids)
		return len(slices.Compact(ids))
	}
	if n := unique(got); n != len(got) {
		t.Errorf("%d events arrived, %d of them different", len(got), n)
	}
	if n := unique(append(slices.Clone(got), a.left(t)...)); n != len(waited)+own {
		t.Errorf("%d different events, want %d from before and the %d of the log", n, len(waited), own)
	}
}

// left are the ids in the outbox of an agent that has ended.
func (a *agentProcess) left(t *testing.T) []string {
	t.Helper()
	s, _, err := state.Open(filepath.Join(a.dir, "state", "state.db"), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	events, err := s.Peek(0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, ev := range events {
		ids = append(ids, ev.ID)
	}
	return ids
}

// TestPromiseOutboxFull starts an agent with more waiting than its outbox may hold, and nobody to send it to.
func TestPromiseOutboxFull(t *testing.T) {
	const most = 500
	total := testhost.Amount(4000, 40000)
	address := freeAddress(t)
	a := newObserver(t, "servers: ['nats://"+address+"']", fmt.Sprintf("outbox: {max_events: %d}\n", most))
	precious := func(id string) bool {
		n, err := strconv.Atoi(strings.TrimPrefix(id, "old-"))
		return err == nil && n%20 < 3
	}
	all := a.prefill(t, total, func(i int) remediate.EventType {
		if i%20 < 3 { // the others are updates
			return []remediate.EventType{remediate.EventIncidentOpened, remediate.EventStepApplied, remediate.EventIncidentClosed}[i%20]
		}
		return remediate.EventIncidentUpdated
	})
	kept := 0
	for _, id := range all {
		if precious(id) {
			kept++
		}
	}
	a.start(t)
	testhost.Eventually(t, "the drops are counted in status and metrics", func() bool {
		out := a.status(t).Outbox
		return out.Dropped > 0 && strings.Contains(a.scrape(t), fmt.Sprintf("\nctwarden_events_dropped_total %d\n", out.Dropped))
	})
	dropped := a.status(t).Outbox.Dropped
	a.wantCommand(t, 0, []string{fmt.Sprintf("of %d events wait, %d dropped", most, dropped)}, "status")
	h := startHubAt(t, address, t.TempDir())
	a.well(t)
	a.stop(t, syscall.SIGTERM)
	got := (&place{bare: h.url}).stored(t)
	arrived := map[string]int{}
	for _, id := range got {
		arrived[id]++
		if arrived[id] > 1 {
			t.Errorf("%s came twice", id)
		}
	}
	lost := 0
	for _, id := range all {
		switch {
		case arrived[id] > 0:
		case precious(id):
			t.Errorf("%s is lost, an opened, a closed or a step", id)
		default:
			lost++
		}
	}
	// The outbox is emptied of updates down to what may be held, from the oldest on.
	if uint64(lost) > dropped || lost < total-max(kept, most) {
		t.Errorf("%d lost, %d counted, of %d with %d that must be kept", lost, dropped, total, kept)
	}
	testhost.Held(t, "4.6 full outbox", "%d waiting, room for %d: dropped and counted %d updates; %d of %d opened, closed and steps arrived, each once",
		total, most, dropped, kept, kept)
}

// TestPromiseBacklog has a hundred thousand events wait, and then come out.
func TestPromiseBacklog(t *testing.T) {
	program, err := plainBuild()
	if err != nil {
		t.Fatal(err)
	}
	const most = 64 << 10 // KiB
	n := testhost.Amount(5000, 100000)
	address := freeAddress(t)
	a := newObserver(t, "servers: ['nats://"+address+"']", "outbox: {max_events: 200000}\n")
	a.program = program
	waited := a.prefill(t, n, updates)
	a.start(t)
	highest := 0
	look := func() { highest = max(highest, a.anonymous(t)) }
	testhost.Eventually(t, "the status says that they wait", func() bool { look(); return a.status(t).Outbox.Events >= n })
	h := startHubAt(t, address, t.TempDir())
	begin := time.Now()
	for left := n; left > 0; {
		testhost.Eventually(t, fmt.Sprintf("fewer than %d wait", left), func() bool { look(); return a.status(t).Outbox.Events < left })
		left = a.status(t).Outbox.Events
	}
	took := time.Since(begin)
	waits := regexp.MustCompile(`nats_connected.*"drain_in": ([0-9.e-]+)`).FindAllStringSubmatch(a.output.String(), -1)
	if len(waits) == 0 {
		t.Error("the log has no nats_connected")
	}
	for _, w := range waits {
		if seconds, err := strconv.ParseFloat(w[1], 64); err != nil || seconds >= 5 {
			t.Errorf("it waited for %s s, want less than 5", w[1])
		}
	}
	a.stop(t, syscall.SIGTERM)
	a.allOf(t, (&place{bare: h.url}).stored(t), waited)
	if highest > most {
		t.Errorf("%d KiB of memory, want at most %d", highest, most)
	}
	testhost.Held(t, "4.7 many waiting", "%d events waited, all arrived once and in order, the last %.1f s after the server came; memory at most %.1f MiB",
		n, took.Seconds(), float64(highest)/1024)
}

// anonymous is the memory of the agent that is no file's, in KiB.
func (a *agentProcess) anonymous(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no RssAnon in:\n%s", text)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
