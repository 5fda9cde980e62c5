package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	natshub "github.com/ctwarden/ctwarden/notify/hub"
	"github.com/ctwarden/ctwarden/remediate"
)

// observer is an agent that changes nothing and reads one file, for tests that need no table of their own. The arguments
// are the directory of the file and what stands below nats.
const observer = `
mode: observe
site: e2e
sources: {lookback: 0s, kmsg: {enabled: false}, journal: {enabled: false}, syslog: {files: [%s/kern.log]}}
nats: {%s}
`

// newObserver is such an agent, not started yet, with metrics.
func newObserver(t *testing.T, natsSection, more string) *agentProcess {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "kern.log"), "", 0o644)
	a := newAgent(t, dir, "")
	a.metrics = fmt.Sprintf("127.0.0.1:%d", testhost.Port(t))
	a.configure(t, fmt.Sprintf(observer, dir, natsSection)+more)
	if err := os.Chmod(a.config, 0o600); err != nil { // it may hold a password
		t.Fatal(err)
	}
	return a
}

// line has somebody forge a line in the agent's file, which the counters do not bear out: the first makes an event.
func (a *agentProcess) line(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(a.dir, "kern.log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s %s kernel: %s\n", time.Now().Format(time.RFC3339Nano), hostname(t), message); err != nil {
		t.Fatal(err)
	}
}

// scrape is the page of metrics, empty where there is none.
func (a *agentProcess) scrape(t *testing.T) string {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + a.metrics + "/metrics")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(text)
}

// troubled waits until status, metrics and log all have the problem, and returns how long that took.
func (a *agentProcess) troubled(t *testing.T, connected bool, problem notify.Problem, words string) time.Duration {
	t.Helper()
	begin := time.Now()
	var missing string
	var last agent.NATSStatus
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("missing at last: %q; %+v", missing, last)
		}
	})
	gauge := "\nctwarden_nats_connected 0\n"
	if connected {
		gauge = "\nctwarden_nats_connected 1\n"
	}
	testhost.Eventually(t, "the status, the metrics and the log say "+string(problem), func() bool {
		st, page, log := a.status(t).NATS, a.scrape(t), a.output.String()
		last = st
		switch {
		case st.Problem != problem || !strings.Contains(st.Error, words) || st.Connected != connected:
			missing = "status"
		case !strings.Contains(page, gauge) || !strings.Contains(page, fmt.Sprintf("\nctwarden_nats_problem{reason=%q} 1\n", problem)):
			missing = "metrics"
		case !strings.Contains(log, fmt.Sprintf(`"problem": %q`, problem)) || !strings.Contains(log, words):
			missing = "log"
		default:
			missing = ""
		}
		return missing == ""
	})
	return time.Since(begin)
}

// well waits until nothing waits and nothing is wrong.
func (a *agentProcess) well(t *testing.T) {
	t.Helper()
	testhost.Eventually(t, "the outbox is empty and nothing is wrong", func() bool {
		st := a.status(t)
		return st.Outbox.Events == 0 && st.NATS.Connected && st.NATS.Error == ""
	})
	if page := a.scrape(t); strings.Contains(page, "ctwarden_nats_problem{") {
		t.Errorf("the metrics still have a problem:\n%s", page)
	}
}

// prefill puts events into the outbox of an agent that is not started yet, as an outage leaves them there, and returns
// their ids.
func (a *agentProcess) prefill(t *testing.T, n int, typ func(i int) remediate.EventType) []string {
	t.Helper()
	dir := filepath.Join(a.dir, "state")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	s, _, err := state.Open(filepath.Join(dir, "state.db"), state.Options{MaxEvents: n})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	var c state.Change
	for i := range n {
		c.Events = append(c.Events, old(t, i, typ(i)))
		ids = append(ids, c.Events[len(c.Events)-1].ID)
		if len(c.Events) == 5000 || i == n-1 {
			if _, err := s.Commit(c); err != nil {
				t.Fatal(err)
			}
			c = state.Change{}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return ids
}

// old is an event from before the start.
func old(t *testing.T, i int, typ remediate.EventType) notify.Outgoing {
	t.Helper()
	ev := remediate.Event{ID: fmt.Sprintf("old-%06d", i), Type: typ, Time: time.Unix(1_700_000_000+int64(i), 0)}
	switch typ {
	case remediate.EventIncidentOpened, remediate.EventIncidentUpdated, remediate.EventIncidentClosed:
		ev.Data = remediate.Incident{ID: fmt.Sprintf("in-%06d", i), Severity: remediate.SeverityCritical, BootID: "boot", OpenedAt: ev.Time, Matches: i}
	case remediate.EventStepApplied:
		ev.Data = remediate.Step{ID: fmt.Sprintf("st-%06d", i), From: 65536, To: 131072, Reason: remediate.ReasonFull}
	default:
		ev.Data = remediate.LimitChange{Old: 65536, New: 131072}
	}
	out, err := notify.Encode(notify.Identity{Host: hostname(t), Site: "e2e", Version: "old"}, ev)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// updates makes every event an incident.updated.
func updates(int) remediate.EventType { return remediate.EventIncidentUpdated }

// place is a NATS server of an agent's, with the stream, and how the test gets in.
type place struct {
	url   string // for the agent, with what it needs to get in
	bare  string
	admin []nats.Option
}

// stored are the ids in the stream, in order.
func (p *place) stored(t *testing.T) []string {
	t.Helper()
	nc, err := nats.Connect(p.bare, p.admin...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	return storedIn(t, nc)
}

func storedIn(t *testing.T, nc *nats.Conn) []string {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), notify.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	cons, err := js.OrderedConsumer(t.Context(), notify.StreamName, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for total := int(stream.CachedInfo().State.Msgs); len(ids) < total; {
		batch, err := cons.Fetch(min(500, total-len(ids)), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			ids = append(ids, m.Headers().Get(nats.MsgIdHdr))
		}
		if err := batch.Error(); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

// inProcess is a server with a configuration of its own that can be restarted in its place.
type inProcess struct {
	place
	t    *testing.T
	opts server.Options
	ns   *server.Server
}

func startNATS(t *testing.T, change func(*server.Options), admin ...nats.Option) *inProcess {
	t.Helper()
	port := testhost.Port(t)
	p := &inProcess{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
	}}
	p.url = fmt.Sprintf("nats://127.0.0.1:%d", port)
	p.bare, p.admin = p.url, admin
	if change != nil {
		change(&p.opts)
	}
	t.Cleanup(p.stop)
	p.start()
	nc, err := nats.Connect(p.bare, admin...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := natshub.Setup(t.Context(), nc, natshub.SetupOptions{MaxBytes: 256 << 20}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *inProcess) start() {
	p.t.Helper()
	opts := p.opts
	ns, err := server.NewServer(&opts)
	if err != nil {
		p.t.Fatal(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(20 * time.Second) {
		p.t.Fatal("the server did not start")
	}
	p.ns = ns
}

func (p *inProcess) stop() {
	if p.ns != nil {
		p.ns.Shutdown()
		p.ns.WaitForShutdown()
		p.ns = nil
	}
}

// guarded puts a user and a password into an address.
func guarded(address, userinfo string) string {
	return strings.Replace(address, "//", "//"+userinfo+"@", 1)
}
