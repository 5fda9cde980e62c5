package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// receiver is the other end of a webhook, which keeps what it got.
type receiver struct {
	mu  sync.Mutex
	got []oncall.Notification
}

// receive listens until the test ends.
func receive(t *testing.T, address string) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{}
	srv := &http.Server{Handler: r}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var body struct{ Data oncall.Notification }
	text, err := io.ReadAll(req.Body)
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if err != nil || req.Header.Get("webhook-id") == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, body.Data)
	w.WriteHeader(http.StatusNoContent)
}

// actions are what came, in order.
func (r *receiver) actions() (list []oncall.Action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.got {
		list = append(list, n.Action)
	}
	return list
}

// TestPagesGoOutOnceOverARestart has a host refuse connections while nobody answers at the receiver's. The agent is stopped
// and started again, the receiver comes, and is told of the trouble once, and of its end.
func TestPagesGoOutOnceOverARestart(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", testhost.Port(t))
	h := newScratch(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("whsec_"+"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="), 0o600); err != nil {
		t.Fatal(err)
	}
	h.cfg.Policy.Mode, h.cfg.CloseAfter = remediate.ModeObserve, time.Second
	h.cfg.Oncall = []Oncall{{
		Config:   oncall.Config{Name: "night", Webhook: &oncall.WebhookConfig{URL: "http://" + address + "/", Secret: secret}},
		Severity: remediate.SeverityCritical,
	}}
	run := func() (*Agent, func()) {
		a, cancel, done := runScratch(t, h, time.Minute)
		return a, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	sender := func(a *Agent) oncall.Status {
		s := statusOf(t, a)
		if len(s.Oncall) != 1 {
			t.Fatalf("senders %+v", s.Oncall)
		}
		return s.Oncall[0]
	}

	a, stop := run()
	h.table(t, 65536, 65536, 0)
	h.table(t, 65536, 65536, 100)
	testhost.Eventually(t, "the page waits", func() bool { s := sender(a); return s.Waiting >= 1 && s.Problem != "" })
	stop()
	r := receive(t, address)
	a, stop = run()
	testhost.Eventually(t, "the page is delivered", func() bool { return slices.Contains(r.actions(), oncall.ActionTrigger) })
	testhost.Eventually(t, "its delivery is booked", func() bool { s := sender(a); return s.Waiting == 0 && s.Delivered > 0 })
	stop()
	h.table(t, 100, 65536, 100)
	a, stop = run()
	defer stop()
	testhost.Eventually(t, "the end is delivered", func() bool { return slices.Contains(r.actions(), oncall.ActionResolve) })
	testhost.Eventually(t, "nothing waits", func() bool { return sender(a).Waiting == 0 })
	got := r.actions()
	triggers, ends := 0, 0
	for _, action := range got {
		switch action {
		case oncall.ActionTrigger:
			triggers++
		case oncall.ActionResolve:
			ends++
		}
	}
	if triggers != 1 || ends != 1 || got[len(got)-1] != oncall.ActionResolve {
		t.Errorf("told %v", got)
	}
	page, err := newCollector(a.Status).collect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if want := `ctwarden_pages_total{result="delivered",sender="night"} 1`; !strings.Contains(page, "\n"+want+"\n") {
		t.Errorf("no %s in\n%s", want, page)
	}
}
