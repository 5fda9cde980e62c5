package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testpager"
	"github.com/ctwarden/ctwarden/notify/hub"
)

// built is the program with failpoints, made once.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ctwarden-hub-test-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "ctwarden-hub")
	out, err := exec.Command("go", "build", "-tags", "failpoint", "-o", file, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return file, nil
})

// log is what a process says, for the test's own goroutine and the process.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// process is a hub of its own.
type process struct {
	*log
	cmd   *exec.Cmd
	ended <-chan error
}

// launch starts a hub with a configuration file; it ends with the test at the latest.
func launch(t *testing.T, file string, env ...string) *process {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{log: &log{}, cmd: exec.Command(program, "serve", "--config", file)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.begin(t)
	return p
}

// begin starts the process.
func (p *process) begin(t *testing.T) {
	t.Helper()
	var err error
	if p.ended, err = testhost.Spawn(p.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.log)
		}
		_ = p.cmd.Process.Kill() // it may have ended
	})
}

// says waits until the process has said it.
func (p *process) says(t *testing.T, text string) {
	t.Helper()
	testhost.Eventually(t, "the hub says "+text, func() bool { return strings.Contains(p.String(), text) })
}

// stop ends the process in order.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-p.ended; err != nil {
		t.Errorf("hub: %v: %s", err, p.log)
	}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hub.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func paging(url string, p *testpager.Pager) string {
	return fmt.Sprintf("nats: {servers: [%q]}\nlisten: \"\"\ngroup_wait: 1s\noncall: [{name: pager, webhook: {url: %q, secret: %q}}]\n",
		url, p.URL, p.SecretFile)
}

// plainServer is a NATS server with all that init makes.
func plainServer(t *testing.T) (string, *nats.Conn) {
	t.Helper()
	url := serverOf(t, "", nil)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := hub.Setup(t.Context(), nc, hub.SetupOptions{MaxBytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	return url, nc
}

func sendEvents(t *testing.T, nc *nats.Conn, site string, hosts int) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for i := range hosts {
		host := fmt.Sprint("h", i)
		ev := opened(t, site, host, "ev-"+site+"-"+host)
		if _, err := js.Publish(t.Context(), ev.Subject, ev.Body, jetstream.WithMsgID(ev.ID)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPromiseHubKilledBeforeThePage has two hubs as processes. The one that leads is killed when a page is saved and not
// sent: the other sends it, once.
func TestPromiseHubKilledBeforeThePage(t *testing.T) {
	url, nc := plainServer(t)
	pager := testpager.Start(t)
	file := writeConfig(t, paging(url, pager))
	first := launch(t, file, "CTWARDEN_FAILPOINT="+hub.StageSaved)
	first.says(t, "hub_leads")
	second := launch(t, file)
	second.says(t, "ready at")
	sendEvents(t, nc, "gva", 5)
	err := <-first.ended
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the leader ended with %v", err)
	}
	if n := len(pager.Pages()); n > 0 {
		t.Fatalf("%d pages went out before: there is nothing to show", n)
	}
	testhost.Eventually(t, "the other hub sends the page", func() bool { return pager.Count("trigger") > 0 })
	sendEvents(t, nc, "zrh", 5)
	testhost.Eventually(t, "and the next", func() bool { return pager.Count("trigger") > 1 })
	second.stop(t)
	if r := pager.Repeated(); r != nil || pager.Count("trigger") != 2 {
		t.Errorf("%d pages; repeated: %q", pager.Count("trigger"), r)
	}
	testhost.Held(t, "4.13 hub killed between save and send", "one page of 5 hosts: sent by the next hub, twice 0")
}

func TestReload(t *testing.T) {
	url, nc := plainServer(t)
	pager := testpager.Start(t)
	file := writeConfig(t, fmt.Sprintf("nats: {servers: [%q]}\nlisten: \"\"\ngroup_wait: 1s\n", url))
	h := launch(t, file)
	h.says(t, "hub_leads")
	reload := func(text, answer string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := h.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		h.says(t, answer)
	}
	reload("group_wait: soon\n", "configuration_not_reloaded")
	h.says(t, "group_wait")
	reload(paging(url, pager), "configuration_reloaded")
	sendEvents(t, nc, "gva", 2)
	testhost.Eventually(t, "the new sender is told", func() bool { return pager.Count("trigger") == 1 })
	reload(strings.Replace(paging(url, pager), "listen: \"\"", "listen: 127.0.0.1:9", 1), "changes_wait_for_restart")
	h.stop(t)
}

// TestAcknowledge acknowledges and resolves a page from the command line.
func TestAcknowledge(t *testing.T) {
	url, nc := plainServer(t)
	pager := testpager.Start(t)
	h := launch(t, writeConfig(t, paging(url, pager)))
	h.says(t, "hub_leads")
	sendEvents(t, nc, "gva", 2)
	testhost.Eventually(t, "the page arrives", func() bool { return pager.Count("trigger") == 1 })
	id := pager.Pages()[0].Key
	for _, c := range []struct {
		verb, id string
		code     int
		want     string
	}{
		{"acknowledge", "nothing", exitUnavailable, "there is none of that id"},
		{"acknowledge", id, exitDone, "acknowledged " + id},
		{"acknowledge", id, exitDone, "acknowledged " + id}, // already
		{"resolve", id, exitDone, "resolved " + id},
		{"acknowledge", id, exitUnavailable, "it is over"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{c.verb, "--server", url, c.id}, &out, &errs); code != c.code || !strings.Contains(out.String()+errs.String(), c.want) {
			t.Errorf("%s %s: code %d: %s%s", c.verb, c.id, code, &out, &errs)
		}
		if c.verb == "acknowledge" {
			testhost.Eventually(t, "who was paged is told", func() bool { return c.id != id || pager.Count("acknowledge") == 1 })
		}
	}
	testhost.Eventually(t, "the end arrives", func() bool { return pager.Count("resolve") == 1 })
	h.stop(t)
}

// TestPageIsServed asks a hub's page over HTTP.
func TestPageIsServed(t *testing.T) {
	url, _ := plainServer(t)
	port := testhost.Port(t)
	h := launch(t, writeConfig(t, fmt.Sprintf("nats: {servers: [%q]}\nlisten: 127.0.0.1:%d\n", url, port)))
	h.says(t, "hub_leads")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	body, err := get(ctx, fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	body, err = get(ctx, fmt.Sprintf("http://127.0.0.1:%d/api/v1/status", port))
	var st struct {
		Leading bool   `json:"leading"`
		Leader  string `json:"leader"`
	}
	if err == nil {
		err = json.Unmarshal(body, &st)
	}
	if err != nil || !st.Leading || st.Leader == "" {
		t.Errorf("%v: %s", err, body)
	}
	h.stop(t)
}

// get reads a page, which must be there.
func get(ctx context.Context, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", answer.Status)
	}
	return body, err
}

// TestHubWaitsForNATS starts a hub before its server is there: it says so, serves its page, and is ready once there is one.
// The service manager hears of it all the time.
func TestHubWaitsForNATS(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	told := &log{}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := l.Read(b)
			if err != nil {
				return
			}
			fmt.Fprintf(told, "%s;", b[:n])
		}
	}()
	port, page, store := testhost.Port(t), testhost.Port(t), t.TempDir()
	here := func(o *server.Options) { o.Port, o.StoreDir = port, store }
	ns := startServer(t, "", here)
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.Setup(t.Context(), nc, hub.SetupOptions{MaxBytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	ns.Shutdown()
	ns.WaitForShutdown()
	file := writeConfig(t, fmt.Sprintf("nats: {servers: [\"nats://127.0.0.1:%d\"]}\nlisten: 127.0.0.1:%d\n", port, page))
	h := launch(t, file, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=1500000")
	h.says(t, "nats_waited_for")
	testhost.Eventually(t, "the page says that NATS is away", func() bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", page))
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	testhost.Eventually(t, "the watchdog is told", func() bool {
		return strings.Count(told.String(), "WATCHDOG=1") > 3 && strings.Contains(told.String(), "EXTEND_TIMEOUT_USEC=")
	})
	if strings.Contains(told.String(), "READY=1") || strings.Count(h.String(), "nats_waited_for") != 1 {
		t.Errorf("told %s", told)
	}
	startServer(t, "", here)
	h.says(t, "ready at")
	testhost.Eventually(t, "the service manager is told", func() bool { return strings.Contains(told.String(), "READY=1") })
	h.stop(t)
}

// TestPausedLeader stops the process of the leader while a page of it waits for another attempt, until the other hub leads
// and has sent the page. When the first goes on, its attempt is overdue, and it does not know yet that another leads.
func TestPausedLeader(t *testing.T) {
	url, nc := plainServer(t)
	pager := testpager.Start(t)
	pager.Answer(func(testpager.Page) int { return http.StatusServiceUnavailable })
	file := writeConfig(t, paging(url, pager))
	first := launch(t, file)
	first.says(t, "hub_leads")
	second := launch(t, file)
	second.says(t, "ready at")
	sendEvents(t, nc, "gva", 5)
	first.says(t, "page_not_sent")
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := first.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	pager.Answer(nil)
	second.says(t, "hub_leads")
	testhost.Eventually(t, "the other hub sends the page", func() bool { return pager.Count("trigger") > 0 })
	signal(syscall.SIGCONT)
	first.says(t, "hub_stands_aside")
	sendEvents(t, nc, "zrh", 5)
	testhost.Eventually(t, "and the next", func() bool { return pager.Count("trigger") > 1 })
	first.stop(t)
	second.stop(t)
	if r := pager.Repeated(); r != nil || pager.Count("trigger") != 2 {
		t.Errorf("%d pages; repeated: %q", pager.Count("trigger"), r)
	}
}
