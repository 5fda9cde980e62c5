package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/simulate"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testpager"
	"github.com/ctwarden/ctwarden/notify"
)

// rig is a NATS server, a receiver of pages and a hub that is a process of its own.
type rig struct {
	url   string
	nc    *nats.Conn
	pager *testpager.Pager
	page  string
	file  string
	hub   *process
}

func newRig(t *testing.T, url string, nc *nats.Conn) *rig {
	t.Helper()
	r := &rig{url: url, nc: nc, pager: testpager.Start(t)}
	port := testhost.Port(t)
	r.page = fmt.Sprintf("http://127.0.0.1:%d", port)
	r.file = writeConfig(t, strings.Replace(paging(url, r.pager), `listen: ""`, fmt.Sprintf("listen: 127.0.0.1:%d", port), 1))
	return r
}

// start starts the hub and waits until it leads.
func (r *rig) start(t *testing.T) {
	t.Helper()
	r.hub = launch(t, r.file)
	r.hub.says(t, "hub_leads")
}

// metric is one of the hub's metrics, the sum of its series; -1: the hub does not tell.
func (r *rig) metric(t *testing.T, name string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	text, err := get(ctx, r.page+"/metrics")
	if err != nil {
		return -1 // not yet
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(text)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(series, "{"); base != name {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		sum, found = sum+n, true
	}
	if !found {
		t.Fatalf("no metric %s in\n%s", name, text)
	}
	return sum
}

// taken is how many different events the hub has taken: an event that the stream delivers again, since a save took long, counts
// once.
func (r *rig) taken(t *testing.T) uint64 {
	t.Helper()
	again := r.metric(t, "ctwarden_hub_events_duplicate_total") // first: what comes between the two must not make it too few
	return uint64(max(r.metric(t, "ctwarden_hub_events_total")-again, 0))
}

// stored is how many events the stream has.
func (r *rig) stored(t *testing.T) uint64 {
	t.Helper()
	js, err := jetstream.New(r.nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), notify.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// once fails the test unless each site was paged by one trigger, and one resolve, and each message came once.
func (r *rig) once(t *testing.T, sites int) {
	t.Helper()
	troubles := map[string]string{}
	for _, p := range r.pager.Pages() {
		if p.Action == "trigger" {
			troubles[p.Site] = p.Key
		}
	}
	if again := r.pager.Repeated(); again != nil || r.pager.Count("trigger") != sites || len(troubles) != sites || r.pager.Count("resolve") != sites {
		t.Errorf("%d triggers for %d of %d sites, %d resolves; repeated: %q", r.pager.Count("trigger"), len(troubles), sites, r.pager.Count("resolve"), again)
	}
}

// peak is the most memory that the hub has had resident, in bytes.
func (r *rig) peak(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.hub.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatalf("no VmHWM in %s", text)
	return 0
}

// lastReport is the last line of a simulation's output.
func lastReport(t *testing.T, out []byte) simulate.Report {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var r simulate.Report
	if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil || r.Phase != "done" {
		t.Fatalf("%v in %s", err, lines[len(lines)-1])
	}
	return r
}

// TestSimulatedFleet has a thousand hosts open an incident each: no event is lost on the way into the hub, and each site is
// one page.
func TestSimulatedFleet(t *testing.T) {
	const hosts, sites = 1000, 5
	url, nc := plainServer(t)
	r := newRig(t, url, nc)
	r.start(t)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{
		"simulate", "--hosts", fmt.Sprint(hosts), "--sites", fmt.Sprint(sites), "--within", "2s", "--for", "3s", "--server", url, "-o", "json",
	}, &out, &errs)
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	got := lastReport(t, out.Bytes())
	if got.Opened != hosts || got.Closed != hosts || got.NotAcknowledged != 0 || got.Published != got.Acknowledged || !got.Multiplexed {
		t.Errorf("%+v", got)
	}
	// hello, opened, applied, confirmed, closed, goodbye; an update now and then where the machine is slow
	if got.Published < 6*hosts || got.States < hosts {
		t.Errorf("%d events, %d states", got.Published, got.States)
	}
	testhost.Eventually(t, "the hub has it all", func() bool { return r.taken(t) >= got.Published })
	testhost.Eventually(t, "every incident is resolved", func() bool { return r.pager.Count("resolve") >= sites })
	if stored, taken := r.stored(t), r.taken(t); stored != got.Published || taken != stored {
		t.Errorf("published %d, stored %d, taken by the hub %d", got.Published, stored, taken)
	}
	if n := r.metric(t, "ctwarden_hub_hosts"); n != hosts {
		t.Errorf("the hub knows %.0f hosts", n)
	}
	r.hub.stop(t)
	r.once(t, sites)
}

// TestSimulationEnds is told to end while tables are full: the hosts say goodbye all the same.
func TestSimulationEnds(t *testing.T) {
	url, nc := plainServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, ended := &log{}, make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"simulate", "--hosts", "50", "--within", "0s", "--for", "1h", "--connections", "50", "--server", url, "-o", "json"}, out, out)
	}()
	testhost.Eventually(t, "every incident has opened", func() bool { return strings.Contains(out.String(), `"incidents_opened":50`) })
	cancel()
	if code := <-ended; code != exitDone {
		t.Fatalf("exit code %d: %s", code, out)
	}
	r := lastReport(t, []byte(out.String()))
	if r.Closed != 0 || r.NotAcknowledged != 0 || r.Multiplexed {
		t.Errorf("%+v", r)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), notify.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(notify.SubjectPrefix+".*.*.agent.stopped"))
	if err != nil || len(info.State.Subjects) != 50 {
		t.Errorf("%d of 50 hosts said goodbye; %v", len(info.State.Subjects), err)
	}
}
