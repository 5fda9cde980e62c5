package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ctwarden/ctwarden/internal/simulate"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify/hub"
)

// figuresEnv asks for the figures, which take minutes and both processors: make bench-hub.
const figuresEnv = "CTWARDEN_FIGURES"

// The bounds that the hub is held to.
const (
	mostMemory     = 300 << 20 // bytes
	leastPerSecond = 20_000    // events taken in
	mostPaint      = time.Second
)

// fewPending is how many events may wait for a hub that has worked off a backlog: agents go on sending.
const fewPending = 1000

// patience bounds the waits for a large fleet.
const patience = 3 * time.Minute

// figures is a rig of which every part is a process of its own: the NATS server, the hub and the fleet.
func figures(t *testing.T) *rig {
	t.Helper()
	if os.Getenv(figuresEnv) == "" {
		t.Skip("takes minutes and both processors; make bench-hub runs it")
	}
	port, said := testhost.Port(t), &log{}
	server := exec.Command(testhost.NATSServer(t), "-a", "127.0.0.1", "-p", fmt.Sprint(port), "-js", "-sd", t.TempDir())
	server.Stdout, server.Stderr = said, said
	ended, err := testhost.Spawn(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM) // it may have ended
		<-ended
	})
	url := fmt.Sprintf("nats://127.0.0.1:%d", port)
	var nc *nats.Conn
	testhost.Eventually(t, "the NATS server answers", func() bool {
		nc, err = nats.Connect(url)
		return err == nil
	})
	t.Cleanup(nc.Close)
	if _, err := hub.Setup(t.Context(), nc, hub.SetupOptions{MaxBytes: 4 << 30, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	return newRig(t, url, nc)
}

// startToFile starts the hub, with the events that it prints going to a file, as a service's do, and not through this process.
func (r *rig) startToFile(t *testing.T) {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "hub.out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() }) // nothing is read from it
	r.hub = &process{log: &log{}, cmd: exec.Command(program, "serve", "--config", r.file)}
	r.hub.cmd.Stdout, r.hub.cmd.Stderr = out, r.hub.log
	r.hub.begin(t)
	r.hub.says(t, "hub_leads")
}

// worked is the processor time that the hub has taken, in seconds.
func (r *rig) worked(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.hub.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] { // utime and stime, in hundredths
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return float64(ticks) / 100
}

// played is a simulation that runs as a process of its own.
type played struct{ *process }

func (r *rig) fleet(t *testing.T, args ...string) *played {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	f := &played{process: &process{log: &log{}}}
	f.cmd = exec.Command(program, append([]string{"simulate", "--server", r.url, "-o", "json"}, args...)...)
	f.cmd.Stdout, f.cmd.Stderr = f.log, f.log
	if f.ended, err = testhost.Spawn(f.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.cmd.Process.Kill() }) // it may have ended
	return f
}

// report is how the simulation ended, which it has to by itself, or after it was told to.
func (f *played) report(t *testing.T) simulate.Report {
	t.Helper()
	if err := <-f.ended; err != nil {
		t.Fatalf("simulate: %v: %s", err, f.log)
	}
	return lastReport(t, []byte(f.String()))
}

// await is testhost.Eventually for what takes longer, and without asking so often.
func await(t *testing.T, what string, every time.Duration, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline.C:
			t.Fatalf("not in %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

// figure tells a figure where nothing was wrong with it.
func figure(t *testing.T, format string, args ...any) {
	t.Helper()
	if !t.Failed() {
		t.Logf(format, args...)
	}
}

// critical is how many hosts the hub's list has with a critical incident.
func (r *rig) critical(t *testing.T) int {
	t.Helper()
	body, err := get(t.Context(), r.page+"/api/v1/hosts?state=critical&limit=1")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if _, err := fmt.Sscanf(string(body[bytes.Index(body, []byte(`"total":`)):]), `"total":%d`, &n); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return n
}

// TestFigureStorm has 10,000 hosts open an incident within ten seconds.
func TestFigureStorm(t *testing.T) {
	const hosts, sites = 10_000, 20
	r := figures(t)
	r.startToFile(t)
	got := r.fleet(t, "--hosts", fmt.Sprint(hosts), "--sites", fmt.Sprint(sites), "--within", "10s", "--for", "20s").report(t)
	await(t, "every page is resolved", time.Second, func() bool { return r.pager.Count("resolve") >= sites })
	await(t, "the hub has it all", time.Second, func() bool { return r.taken(t) >= got.Published })
	stored, taken, peak := r.stored(t), r.taken(t), r.peak(t)
	if got.Opened != hosts || got.Closed != hosts || stored != got.Published || taken != stored {
		t.Errorf("%d opened, %d closed; published %d, stored %d, taken by the hub %d", got.Opened, got.Closed, got.Published, stored, taken)
	}
	if open := r.metric(t, "ctwarden_hub_incidents_open"); open != 0 {
		t.Errorf("%.0f incidents are open at the end", open)
	}
	if peak > mostMemory {
		t.Errorf("the hub took %d MB", peak>>20)
	}
	r.hub.stop(t)
	r.once(t, sites)
	figure(t, "storm of 10,000 hosts: all opened within %.1f s: published %d, acknowledged %d, stored %d, taken by the hub %d, lost 0; 1 page for each of %d sites, all resolved; hub at most %d MB; longest between readings %.1f s",
		got.OpenedAll, got.Published, got.Acknowledged, stored, taken, sites, peak>>20, got.LongestUnread)
}

// TestFigureThroughput has a hub meet a stream with three storms of 10,000 hosts that it has not seen.
func TestFigureThroughput(t *testing.T) {
	r := figures(t)
	waiting := uint64(0)
	for range 3 {
		waiting += r.fleet(t, "--hosts", "10000", "--sites", "20", "--within", "1s", "--for", "1s").report(t).Published
	}
	r.startToFile(t)
	var first, last float64
	var from, to time.Time
	await(t, "the hub has it all", 50*time.Millisecond, func() bool {
		n, now := float64(r.taken(t)), time.Now()
		if n > 0 && from.IsZero() {
			first, from = n, now
		}
		last, to = n, now
		return n >= float64(waiting)
	})
	rate, peak, worked := (last-first)/to.Sub(from).Seconds(), r.peak(t), r.worked(t)
	r.hub.stop(t)
	if stored := r.stored(t); last != float64(stored) {
		t.Errorf("taken by the hub %.0f of %d", last, stored)
	}
	if rate < leastPerSecond {
		t.Errorf("%.0f events/s; %.0f events in %.1f s, of which the hub had a processor for %.1f s", rate, last-first, to.Sub(from).Seconds(), worked)
	}
	figure(t, "throughput: %d events waited; %.0f taken in %.1f s: %.0f events/s; the hub took %.1f s of a processor and at most %d MB",
		waiting, last-first, to.Sub(from).Seconds(), rate, worked, peak>>20)
}

// TestFigureHundredThousand has 100,000 hosts open an incident at once and keep it open, while their states come in, with the
// page open; when the hub has worked off what came, it loads the page anew and has it keep up with probes.
func TestFigureHundredThousand(t *testing.T) {
	const hosts, sites = 100_000, 50
	r := figures(t)
	r.startToFile(t)
	w := r.watch(t, mostProbes)
	w.ask(turnsScript)
	f := r.fleet(t, "--hosts", fmt.Sprint(hosts), "--sites", fmt.Sprint(sites), "--within", "0s", "--for", "1h", "--connections", "16")
	await(t, "every host's incident is acknowledged", 50*time.Millisecond, func() bool {
		text := f.String()
		last := text[strings.LastIndex(strings.TrimSpace(text), "\n")+1:]
		return strings.Contains(text, fmt.Sprintf(`"incidents_opened":%d`, hosts)) && !strings.Contains(last, `"opened_all_acknowledged_s":0,`)
	})
	stored := time.Now()
	lag := 0.0
	await(t, "the hub shows every host's incident", 100*time.Millisecond, func() bool {
		lag = max(lag, r.metric(t, "ctwarden_hub_lag_seconds"))
		return r.critical(t) == hosts
	})
	shown := time.Since(stored)
	await(t, "the page shows them", 50*time.Millisecond, func() bool { return w.refusing() == hosts })
	pauses := w.pauses()
	if middle(pauses) > mostPause {
		t.Errorf("while the hub works off what came, the page changes after %v", pauses)
	}
	await(t, "every site is paged", time.Second, func() bool { return r.pager.Count("trigger") >= sites })
	await(t, "every host's state is there", time.Second, func() bool { return r.metric(t, "ctwarden_hub_hosts") >= hosts })
	// What comes behind so many waits its turn; from here on the page has to keep up.
	await(t, "next to nothing waits for the hub", time.Second, func() bool {
		return r.metric(t, "ctwarden_hub_events_pending") < fewPending && r.taken(t)+fewPending >= r.stored(t)
	})
	w.load()
	paint := time.Duration(w.ask(`Math.ceil(performance.getEntriesByName("first-contentful-paint")[0].startTime)`)) * time.Millisecond
	if paint > mostPaint {
		t.Errorf("the page is first painted after %v", paint)
	}
	b := w.behind(150 * time.Millisecond)
	b.hold(t, mostBehind)
	if n := r.critical(t); n < hosts {
		t.Errorf("%d of %d incidents are still open for the hub, and all for their hosts", n, hosts)
	}
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	got := f.report(t)
	got.Published += w.sent
	await(t, "the hub has it all", time.Second, func() bool { return r.taken(t) >= got.Published })
	taken, again, peak := r.taken(t), r.metric(t, "ctwarden_hub_events_duplicate_total"), r.peak(t)
	if got.Opened != hosts || got.NotAcknowledged != 0 || r.stored(t) != got.Published || taken != got.Published {
		t.Errorf("%d opened; published %d, stored %d, taken by the hub %d", got.Opened, got.Published, r.stored(t), taken)
	}
	r.hub.stop(t)
	troubled := sites + 1 + len(b.incidents)
	if again := r.pager.Repeated(); again != nil || r.pager.Count("trigger") != troubled {
		t.Errorf("%d triggers for %d sites; repeated: %q", r.pager.Count("trigger"), troubled, again)
	}
	figure(t, "100,000 hosts: all opened within %.1f s, in the stream after %.1f s, on the page %.1f s later, the hub at most %.1f s behind the stream; published %d, taken by the hub %d (%.0f twice), lost 0; 1 page for each of %d sites; %d states; hub at most %d MB; while it worked them off the page changed every %d ms at the median, after %d ms at the most; afterwards it was first painted after %d ms, a cell %d ms behind at the median and %d ms at the most, an incident %d and %d ms",
		got.OpenedAll, got.Stored, shown.Seconds(), lag, got.Published, taken, again, troubled, got.States, peak>>20, middle(pauses).Milliseconds(), most(pauses).Milliseconds(), paint.Milliseconds(),
		middle(b.cells).Milliseconds(), most(b.cells).Milliseconds(), middle(b.incidents).Milliseconds(), most(b.incidents).Milliseconds())
}
