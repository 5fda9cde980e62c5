package e2e

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
)

// natsFault is a way in which the server of a whole agent fails. Package notify has all of them, for the publisher.
type natsFault struct {
	name      string
	set       func(t *testing.T) *natsStage
	connected bool // the connection stands meanwhile
	problem   notify.Problem
	words     string
}

type natsStage struct {
	*place
	fail, mend func()
}

// hubStage has a hub, as a process, with its embedded server.
func hubStage(t *testing.T, fail, mend func(t *testing.T, h **hub, start func() *hub)) *natsStage {
	t.Helper()
	address, store := freeAddress(t), t.TempDir()
	begin := func() *hub { return startHubAt(t, address, store) }
	h := begin()
	return &natsStage{place: &place{url: h.url, bare: h.url},
		fail: func() { fail(t, &h, begin) }, mend: func() { mend(t, &h, begin) }}
}

func natsFaults() []natsFault {
	return []natsFault{
		{name: "killed", problem: notify.ProblemUnreachable, words: "nothing listens there", set: func(t *testing.T) *natsStage {
			return hubStage(t, func(t *testing.T, h **hub, _ func() *hub) { (*h).stop(t, syscall.SIGKILL) },
				func(_ *testing.T, h **hub, start func() *hub) { *h = start() })
		}},
		{name: "frozen", problem: notify.ProblemUnreachable, words: "no answer within 2s", set: func(t *testing.T) *natsStage {
			signal := func(sig syscall.Signal) func(*testing.T, **hub, func() *hub) {
				return func(t *testing.T, h **hub, _ func() *hub) {
					if err := (*h).cmd.Process.Signal(sig); err != nil {
						t.Fatal(err)
					}
				}
			}
			return hubStage(t, signal(syscall.SIGSTOP), signal(syscall.SIGCONT))
		}},
		{name: "forbidding", connected: true, problem: notify.ProblemForbidden, words: "permissions forbid publish to", set: forbidding},
		{name: "full", connected: true, problem: notify.ProblemFull, words: "is full", set: full},
		{name: "wrong password", problem: notify.ProblemCredentials, words: "does not let this host in", set: func(t *testing.T) *natsStage {
			p := startNATS(t, func(o *server.Options) { o.Username, o.Password = "u", "hunter2" }, nats.UserInfo("u", "hunter2"))
			p.url = guarded(p.bare, "u:hunter2")
			set := func(password string) func() {
				return func() { p.stop(); p.opts.Password = password; p.start() }
			}
			return &natsStage{place: &p.place, fail: set("hunter3"), mend: set("hunter2")}
		}},
	}
}

func forbidding(t *testing.T) *natsStage {
	users := func(subject string) []*server.User {
		return []*server.User{{Username: "admin", Password: "a"}, {Username: "agent", Password: "hunter2", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{subject, "$KV.CTWARDEN_HOSTS.>"}},
		}}}
	}
	p := startNATS(t, func(o *server.Options) { o.Users = users("ctwarden.v1.ev.e2e.>") }, nats.UserInfo("admin", "a"))
	p.url = guarded(p.bare, "agent:hunter2")
	set := func(subject string) func() {
		return func() {
			p.opts.Users = users(subject)
			opts := p.opts
			if err := p.ns.ReloadOptions(&opts); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &natsStage{place: &p.place, fail: set("ctwarden.v1.ev.other.>"), mend: set("ctwarden.v1.ev.e2e.>")}
}

func full(t *testing.T) *natsStage {
	p := startNATS(t, nil)
	set := func(more int64) func() {
		return func() {
			nc, err := nats.Connect(p.bare)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			stream, err := js.Stream(t.Context(), notify.StreamName)
			if err != nil {
				t.Fatal(err)
			}
			cfg := stream.CachedInfo().Config
			cfg.MaxMsgs, cfg.Discard = int64(stream.CachedInfo().State.Msgs)+more, jetstream.DiscardNew
			if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &natsStage{place: &p.place, fail: set(0), mend: set(1000)}
}

// TestPromiseAgentThroughFaults has agents lose their servers in several ways. Each must say why in its status, its
// metrics and its log, go on reading, and deliver all when the server is back.
func TestPromiseAgentThroughFaults(t *testing.T) {
	var mu sync.Mutex
	var slowest time.Duration
	events, faults := 0, natsFaults()
	t.Run("all", func(t *testing.T) {
		var g sync.WaitGroup
		for _, f := range faults {
			g.Go(func() {
				t.Run(f.name, func(t *testing.T) {
					took, n := f.play(t)
					mu.Lock()
					defer mu.Unlock()
					slowest, events = max(slowest, took), events+n
				})
			})
		}
		g.Go(func() { t.Run("half-open", halfOpen) })
		g.Wait()
	})
	testhost.Held(t, "4.5 an agent loses its server", "%d faults; %d events, lost 0, twice 0; the reason was in status, metrics and log within %.1f s at the slowest",
		len(faults), events, slowest.Seconds())
}

// play returns how long the agent took to say why, and how many events arrived.
func (f natsFault) play(t *testing.T) (took time.Duration, events int) {
	s := f.set(t)
	a := newObserver(t, "servers: ['"+s.url+"']", "")
	want := a.prefill(t, 1000, updates)
	a.start(t)
	a.well(t)
	s.fail()
	a.line(t)
	took = a.troubled(t, f.connected, f.problem, f.words)
	testhost.Eventually(t, "the event is in the outbox", func() bool { return a.status(t).Outbox.Events > 0 })
	before := a.status(t).Sources[0].Records
	a.line(t)
	testhost.Eventually(t, "the agent goes on reading", func() bool { return a.status(t).Sources[0].Records > before })
	s.mend()
	a.well(t)
	if out := a.status(t).Outbox; out.Dropped > 0 {
		t.Errorf("outbox %+v, want nothing dropped", out)
	}
	if took := a.stop(t, syscall.SIGTERM); took > 20*time.Second {
		t.Errorf("stopped in %v", took)
	}
	got := s.stored(t)
	a.allOf(t, got, want)
	if strings.Contains(a.output.String(), "hunter") {
		t.Error("a password shows in the log")
	}
	return took, len(got)
}
