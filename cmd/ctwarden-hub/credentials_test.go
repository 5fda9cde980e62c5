package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
)

// lapse is a way in which credentials cease to do, or never did.
type lapse struct {
	form, name string
	// before is done before the user first connects, under while it is connected; nil: nothing.
	before, under func(o *office)
	// words are in what the user says of it.
	words string
}

func (l lapse) String() string { return l.form + ", " + l.name }

// lapses are all of them. Keys in a server's list do not expire.
var lapses = []lapse{
	{"jwt", "of another operator", (*office).foreign, nil, "does not let this host in: credentials that are missing, wrong"},
	{"jwt", "expired", func(o *office) { o.expiring(-time.Hour) }, nil, "does not let this host in: its credentials expired at 20"},
	{"jwt", "revoked", (*office).revoke, nil, "does not let this host in: credentials that are missing, wrong, expired or revoked"},
	{"jwt", "expire under way", func(o *office) { o.expiring(6 * time.Second) }, func(*office) {}, "does not let this host in: its credentials expired at 20"},
	{"jwt", "revoked under way", nil, (*office).revoke, "does not let this host in: its credentials were revoked at 20"},
	{"nkey", "not listed", (*office).foreign, nil, "does not let this host in: credentials that are missing, wrong"},
	{"nkey", "revoked", (*office).revoke, nil, "does not let this host in: credentials that are missing, wrong, expired or revoked"},
	{"nkey", "revoked under way", nil, (*office).revoke, "does not let this host in: credentials that are missing, wrong, expired or revoked"},
}

// each goes through all lapses at once, since most of it is waiting.
func each(t *testing.T, user string, try func(t *testing.T, o *office, l lapse)) {
	var g sync.WaitGroup
	t.Run("all", func(t *testing.T) {
		for _, l := range lapses {
			g.Go(func() {
				t.Run(l.String(), func(t *testing.T) {
					o := newOffice(t, l.form, user)
					if l.before != nil {
						l.before(o)
					}
					try(t, o, l)
				})
			})
		}
		g.Wait()
	})
}

// stored are the ids of the events in the stream, in order.
func (o *office) stored() (ids []string) {
	o.t.Helper()
	js, err := jetstream.New(o.admin)
	if err != nil {
		o.t.Fatal(err)
	}
	s, err := js.Stream(o.t.Context(), notify.StreamName)
	if err != nil {
		o.t.Fatal(err)
	}
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(o.t.Context(), seq)
		if err != nil {
			o.t.Fatal(err)
		}
		ids = append(ids, m.Header.Get(nats.MsgIdHdr))
	}
	return ids
}

// agent is the agent's own connection, with an outbox on disk.
type agent struct {
	*notify.Publisher
	t     *testing.T
	store *state.Store
	ids   []string
}

func startAgent(t *testing.T, o *office) *agent {
	t.Helper()
	a := &agent{t: t}
	var err error
	if a.store, _, err = state.Open(filepath.Join(t.TempDir(), "state.db"), state.Options{}); err != nil {
		t.Fatal(err)
	}
	a.Publisher, err = notify.NewPublisher(notify.PublisherOptions{
		Dial:     notify.Dial{Servers: []string{o.url}, Credentials: o.file},
		Identity: notify.Identity{Host: hostA, Site: "gva", Version: "test"}, Queue: a.store, Log: zaptest.NewLogger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return a.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		a.store.Close()
	})
	return a
}

// happens puts events into the outbox.
func (a *agent) happens(n int) {
	a.t.Helper()
	var c state.Change
	for range n {
		ev := opened(a.t, "gva", hostA, fmt.Sprintf("ev-%03d", len(a.ids)))
		a.ids = append(a.ids, ev.ID)
		c.Events = append(c.Events, ev)
	}
	if _, err := a.store.Commit(c); err != nil {
		a.t.Fatal(err)
	}
	a.Wake()
}

// TestPromiseHostCredentials has an agent with credentials that do not do, from the start or after a while, by the rights that init
// prints for a host: its status says why, the events wait, and go out once each when that is mended.
func TestPromiseHostCredentials(t *testing.T) {
	var mu sync.Mutex
	waited := 0
	each(t, "gva."+notify.HostToken(hostA), func(t *testing.T, o *office, l lapse) {
		a := startAgent(t, o)
		a.happens(3)
		if l.under != nil {
			testhost.Eventually(t, "the first events arrive", func() bool { return a.store.Len() == 0 })
			l.under(o)
		}
		testhost.Eventually(t, "the status says "+l.words, func() bool {
			s := a.Status()
			return !s.Connected && s.Problem == notify.ProblemCredentials && strings.Contains(s.Error, l.words)
		})
		a.happens(20)
		if l.under == nil && a.store.Len() != 23 {
			t.Errorf("%d of 23 events wait", a.store.Len())
		}
		testhost.Eventually(t, "and goes on saying so", func() bool { // whichever attempt it was
			return strings.Contains(a.Status().Error, l.words)
		})
		if l.form == "nkey" && l.name == "not listed" {
			file, _ := keyOf(t)
			o.lay(file)
			testhost.Eventually(t, "the status says that the key is another", func() bool {
				return strings.Contains(a.Status().Error, "holds another key than when this connection was begun; restart")
			})
			return
		}
		o.mend()
		testhost.Eventually(t, "the outbox is empty and the status good", func() bool {
			s := a.Status()
			return a.store.Len() == 0 && s.Connected && s.Error == ""
		})
		if got := o.stored(); !slices.Equal(got, a.ids) || a.store.Dropped() > 0 {
			t.Errorf("%d events in the stream, %d dropped: %q", len(got), a.store.Dropped(), got)
		}
		mu.Lock()
		defer mu.Unlock()
		waited += len(a.ids)
	})
	testhost.Held(t, "4.15 credentials of a host", "%d ways not to be let in: each said, %d events lost 0, twice 0", len(lapses), waited)
}

// TestPromiseHubCredentials does the same with a hub. One that is not let in at the start ends and says why, and works once that is
// mended; one that is shut out later says so on its page, and takes afterwards what came meanwhile.
func TestPromiseHubCredentials(t *testing.T) {
	if _, err := built(); err != nil { // which may take longer than the credentials last
		t.Fatal(err)
	}
	each(t, "hub", func(t *testing.T, o *office, l lapse) {
		port := testhost.Port(t)
		file := writeConfig(t, fmt.Sprintf("nats: {servers: [%q], credentials: %q}\nlisten: 127.0.0.1:%d\n", o.url, o.file, port))
		r := &rig{page: fmt.Sprintf("http://127.0.0.1:%d", port)}
		h := launch(t, file)
		if l.under == nil {
			err := <-h.ended
			if code := h.cmd.ProcessState.ExitCode(); err == nil || code != exitUnavailable || !strings.Contains(h.String(), l.words) {
				t.Errorf("exit code %d, %v", code, err)
			}
			o.mend()
			h = launch(t, file)
			h.says(t, "hub_leads")
			h.stop(t)
			return
		}
		h.says(t, "hub_leads")
		l.under(o)
		h.says(t, l.words)
		testhost.Eventually(t, "the page says "+l.words, func() bool {
			body, err := get(t.Context(), r.page+"/api/v1/status")
			var st struct{ Problem string }
			return err == nil && json.Unmarshal(body, &st) == nil && strings.Contains(st.Problem, l.words)
		})
		sendEvents(t, o.admin, "gva", 5)
		o.mend()
		testhost.Eventually(t, "it has taken the events", func() bool { return r.metric(t, "ctwarden_hub_events_total") == 5 })
		body, err := get(t.Context(), r.page+"/api/v1/status")
		if err != nil || strings.Contains(string(body), "credentials") {
			t.Errorf("afterwards it says %s, %v", body, err)
		}
		h.stop(t)
	})
	testhost.Held(t, "4.15 credentials of a hub", "%d ways not to be let in: each said, and what came meanwhile taken afterwards", len(lapses))
}

// TestAgentSaysThatItIsRevoked has the real agent, and asks it as an operator does.
func TestAgentSaysThatItIsRevoked(t *testing.T) {
	testhost.NeedRoot(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "ctwarden")
	if out, err := exec.Command("go", "build", "-o", program, "../ctwarden").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "kern.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := newOffice(t, "jwt", "gva."+notify.HostToken(hostA))
	file := writeConfig(t, fmt.Sprintf(`
site: gva
host: %s
sources: {kmsg: {enabled: false}, journal: {enabled: false}, syslog: {enabled: true, files: [%s/kern.log]}}
nats: {servers: [%q], credentials: %q}
metrics: {listen: ""}
state_dir: %s/state
runtime_dir: %s/run
`, hostA, dir, o.url, o.file, dir, dir))
	a := &process{log: &log{}, cmd: exec.Command(program, "run", "--config", file)}
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	a.begin(t)
	a.says(t, "nats_connected")
	testhost.Eventually(t, "its start is in the stream", func() bool { return len(o.stored()) == 1 })
	o.jwt.revoke(o.file)
	said := ""
	testhost.Eventually(t, "ctwarden status says that it was revoked", func() bool {
		out, err := exec.Command(program, "status", "--config", file).CombinedOutput()
		said = string(out)
		return err == nil && strings.Contains(said, "its credentials were revoked at 20")
	})
	a.stop(t) // its end waits on disk
	o.mend()
	a = &process{log: &log{}, cmd: exec.Command(program, "run", "--config", file)}
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	a.begin(t)
	testhost.Eventually(t, "its end and the new start are in the stream", func() bool { return len(o.stored()) == 3 })
	a.stop(t)
}
