package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// fleetLab is a NATS server whose users may do what a fleet's may: each host its own, the hub all, a stranger nothing of
// orders.
type fleetLab struct {
	url     string
	hub     *nats.Conn
	answers chan notify.Answer // room for all that a test gets
}

// hostRights are what ctwarden-hub init gives a host.
func hostRights(site, host string) *server.Permissions {
	token := notify.HostToken(host)
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			notify.SubjectPrefix + "." + site + "." + token + ".>", notify.HostStateSubject(site, host), notify.AnswerSubject(site, host),
		}},
		Subscribe: &server.SubjectPermission{Allow: append(notify.CommandSubjects(site, host), notify.InboxPrefix(site, host)+".>")},
	}
}

func newFleetLab(t *testing.T) *fleetLab {
	t.Helper()
	withoutOrders := hostRights("lab", "hv3")
	withoutOrders.Subscribe.Allow = withoutOrders.Subscribe.Allow[3:]
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: testhost.Port(t), NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{
			{Username: "hub", Password: "hub"},
			{Username: "hv1", Password: "hv1", Permissions: hostRights("lab", "hv1")},
			{Username: "hv2", Password: "hv2", Permissions: hostRights("lab", "hv2")},
			{Username: "hv3", Password: "hv3", Permissions: withoutOrders},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server did not start")
	}
	l := &fleetLab{url: ns.ClientURL(), answers: make(chan notify.Answer, 256)}
	l.hub = l.connect(t, "hub")
	js, err := l.hub.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for name, subjects := range map[string][]string{
		notify.StreamName: {notify.SubjectPrefix + ".>"}, "KV_" + notify.HostsBucket: {"$KV." + notify.HostsBucket + ".>"},
	} {
		if _, err := js.AddStream(&nats.StreamConfig{Name: name, Subjects: subjects, MaxMsgsPerSubject: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.hub.Subscribe(notify.AnswerPrefix+".>", func(m *nats.Msg) {
		a, err := notify.DecodeAnswer(m.Subject, m.Data)
		if err != nil {
			t.Errorf("answer: %v", err)
			return
		}
		l.answers <- a
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.hub.Flush(); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *fleetLab) connect(t *testing.T, user string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(l.url, nats.UserInfo(user, user), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// host is an agent on scratch files whose connection is a user's.
func (l *fleetLab) host(t *testing.T, user string) scratch {
	t.Helper()
	h := newScratch(t)
	h.cfg.Host = user
	h.cfg.NATS = notify.Dial{Servers: []string{strings.Replace(l.url, "://", "://"+user+":"+user+"@", 1)}}
	h.cfg.OutboxMax = 1000
	return h
}

// run runs it until the test ends or stop is called, and waits until it is connected.
func (l *fleetLab) run(t *testing.T, h scratch) (a *Agent, stop func()) {
	t.Helper()
	a, cancel, done := runScratch(t, h, time.Minute)
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	testhost.Eventually(t, "connected", func() bool { return a.publisher.Status().Connected })
	return a, stop
}

// send publishes an order's document.
func (l *fleetLab) send(t *testing.T, nc *nats.Conn, subject string, body []byte) {
	t.Helper()
	if err := nc.Publish(subject, body); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// answer waits for the next answer, and wants it to be to an order and with a reason.
func (l *fleetLab) answer(t *testing.T, id string, reason notify.CommandReason) notify.Answer {
	t.Helper()
	select {
	case a := <-l.answers:
		if a.ID != id || a.Reason != reason || a.Done != (reason == "") || a.Text == "" || a.Site != "lab" {
			t.Errorf("answer %+v, want to %q with reason %q", a, id, reason)
		}
		return a
	case <-time.After(30 * time.Second):
		t.Fatalf("no answer to %s", id)
	}
	return notify.Answer{}
}

func encoded(t *testing.T, c notify.Command) []byte {
	t.Helper()
	if c.At.IsZero() {
		c.At = time.Now()
	}
	if c.By == "" {
		c.By = "ann"
	}
	body, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func statusOf(t *testing.T, a *Agent) Status {
	t.Helper()
	s, err := a.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOrdersOfTheFleet gives orders over a real server: what comes with the right to give them is carried out, answered,
// journalled and shown, and survives a restart; nothing else does anything.
func TestOrdersOfTheFleet(t *testing.T) {
	l := newFleetLab(t)
	h := l.host(t, "hv1")
	a, stop := l.run(t, h)
	mine := notify.CommandToHost("lab", "hv1")

	// Whoever has no right to order is not heard, nor is what is another host's. An order that comes after tells that what
	// was sent before has been through.
	hold := notify.Command{ID: "h1", Rev: 10, Verb: notify.CommandHold, Until: time.Now().Add(time.Hour), Why: "core switch"}
	for _, subject := range notify.CommandSubjects("lab", "hv1") {
		l.send(t, l.connect(t, "hv2"), subject, encoded(t, hold))
	}
	l.send(t, l.hub, notify.CommandToHost("lab", "hv2"), encoded(t, hold))
	l.send(t, l.hub, notify.CommandToSite("other"), encoded(t, hold))
	l.send(t, l.hub, mine, encoded(t, notify.Command{ID: "u0", Rev: 9, Verb: notify.CommandUnhold}))
	l.answer(t, "u0", "")
	if s := statusOf(t, a); s.Fleet == nil || s.Fleet.Hold != nil || s.Fleet.Rev != 9 {
		t.Fatalf("fleet %+v, want no hold at revision 9", s.Fleet)
	}

	// To the site: held, and told with by whom. What is answered says the revision.
	l.send(t, l.hub, notify.CommandToSite("lab"), encoded(t, hold))
	if got := l.answer(t, "h1", ""); got.Rev != 10 || !strings.Contains(got.Text, "ann") {
		t.Errorf("answer %+v", got)
	}
	held := func(a *Agent) {
		t.Helper()
		s := statusOf(t, a)
		if s.Held != nil || s.Fleet.Rev != 10 || s.Fleet.Hold == nil || s.Fleet.Hold.By != "ann" || s.Fleet.Hold.Why != "core switch" ||
			!s.Fleet.Hold.Fleet || s.Fleet.Hold.Until.IsZero() {
			t.Fatalf("held %+v, fleet %+v", s.Held, s.Fleet)
		}
	}
	held(a)

	// What is old, repeated, broken or late changes nothing and is answered with a reason.
	for _, bad := range []struct {
		body   []byte
		id     string
		reason notify.CommandReason
	}{
		{encoded(t, hold), "h1", notify.CommandRepeated},
		{encoded(t, notify.Command{ID: "u1", Rev: 9, Verb: notify.CommandUnhold}), "u1", notify.CommandOld},
		{[]byte(`{"verb":"unhold"}`), "", notify.CommandBroken},
		{[]byte("\x00\xff{"), "", notify.CommandBroken},
		{[]byte(strings.Replace(string(encoded(t, notify.Command{ID: "u2", Rev: 11, Verb: notify.CommandUnhold})), "unhold", "raise", 1)), "u2", notify.CommandBroken},
		{encoded(t, notify.Command{ID: "u3", Rev: 11, Verb: notify.CommandUnhold, At: time.Now().Add(-2 * time.Hour)}), "u3", notify.CommandClock},
		{encoded(t, notify.Command{ID: "h2", Rev: 11, Verb: notify.CommandHold, At: time.Now().Add(-2 * time.Minute), Until: time.Now().Add(-time.Minute)}), "h2", notify.CommandExpired},
		{encoded(t, notify.Command{ID: "m1", Rev: 8, Verb: notify.CommandMode, Mode: remediate.ModeObserve}), "m1", notify.CommandNotAwaited},
	} {
		l.send(t, l.hub, mine, bad.body)
		if got := l.answer(t, bad.id, bad.reason); got.Rev != 10 {
			t.Errorf("answer %+v, want revision 10", got)
		}
		held(a)
	}

	// A hold of the host's own is apart: its release leaves the fleet's, and says so.
	if r, err := a.Do(t.Context(), Command{Verb: VerbHold, By: "bert"}); err != nil || !r.Done {
		t.Fatal(r, err)
	}
	if s := statusOf(t, a); s.Held == nil || s.Held.By != "bert" || s.Fleet.Hold == nil {
		t.Errorf("both hold: %+v, %+v", s.Held, s.Fleet)
	}
	r, err := a.Do(t.Context(), Command{Verb: VerbUnhold, By: "bert"})
	if err != nil || !r.Done || !strings.Contains(r.Text, "the fleet holds") || !strings.Contains(r.Text, "ann") || !strings.Contains(r.Text, "ctwarden-hub unhold") {
		t.Errorf("%+v, %v", r, err)
	}
	held(a)

	// Over a restart, and also where only the state file is lost.
	stop()
	a, stop = l.run(t, h)
	held(a)
	l.send(t, l.hub, mine, encoded(t, hold))
	l.answer(t, "h1", notify.CommandRepeated)
	stop()
	if err := os.Remove(filepath.Join(h.cfg.StateDir, "state.db")); err != nil {
		t.Fatal(err)
	}
	a, _ = l.run(t, h)
	if s := statusOf(t, a); s.Fleet.Hold == nil || s.Fleet.Rev != 0 {
		t.Errorf("without the state file: %+v", s.Fleet)
	}

	// Released by the fleet; the host's own hold stays then.
	if r, err := a.Do(t.Context(), Command{Verb: VerbHold, By: "bert"}); err != nil || !r.Done {
		t.Fatal(r, err)
	}
	l.send(t, l.hub, notify.CommandToAll(), encoded(t, notify.Command{ID: "u9", Rev: 12, Verb: notify.CommandUnhold}))
	l.answer(t, "u9", "")
	if s := statusOf(t, a); s.Fleet.Hold != nil || s.Fleet.Rev != 12 || s.Held == nil {
		t.Errorf("after the fleet's release: %+v, %+v", s.Held, s.Fleet)
	}
}

// TestTheHubSeesAtOnceWhatAHostHeard: the host's state in the bucket follows an order within seconds, not a minute.
func TestTheHubSeesAtOnceWhatAHostHeard(t *testing.T) {
	l := newFleetLab(t)
	a, _ := l.run(t, l.host(t, "hv1"))
	js, err := l.hub.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	states := make(chan Status, 64)
	if _, err := js.Subscribe(notify.HostStateSubject("lab", "hv1"), func(m *nats.Msg) {
		var s Status
		if err := json.Unmarshal(m.Data, &s); err == nil {
			states <- s
		}
	}, nats.DeliverNew()); err != nil {
		t.Fatal(err)
	}
	l.send(t, l.hub, notify.CommandToAll(), encoded(t, notify.Command{ID: "h", Rev: 3, Verb: notify.CommandHold}))
	l.answer(t, "h", "")
	limit := time.After(shareEvery * 3 / 4)
	for {
		select {
		case s := <-states:
			if s.Fleet != nil && s.Fleet.Rev == 3 && s.Fleet.Hold != nil {
				return
			}
		case <-limit:
			t.Fatalf("the state was not sent at once: %+v", statusOf(t, a).Fleet)
		}
	}
}

// TestTheFleetSaysTheMode: a host that leaves it to the fleet observes until it is told, goes by that over a restart, and
// until its time runs out.
func TestTheFleetSaysTheMode(t *testing.T) {
	l := newFleetLab(t)
	h := l.host(t, "hv1")
	h.cfg.AwaitFleet = true
	a, stop := l.run(t, h)
	mode := func(a *Agent, want remediate.Mode) {
		t.Helper()
		if s := statusOf(t, a); s.Mode != want || !s.Fleet.Awaits {
			t.Fatalf("mode %s, fleet %+v, want %s", s.Mode, s.Fleet, want)
		}
	}
	mode(a, remediate.ModeObserve)
	h.table(t, 65536, 65536, 100) // the table is full and refuses
	testhost.Eventually(t, "an incident, and no step", func() bool {
		s := statusOf(t, a)
		return len(s.Incidents) == 1 && slices.ContainsFunc(s.StepsTotal, func(n StepTotal) bool {
			return n.Result == "refused" && n.Reason == remediate.ReasonObserveMode
		})
	})
	if got := h.limit(t); got != "65536" {
		t.Fatalf("limit %s while the fleet has not said remediate", got)
	}
	h.table(t, 100, 65536, 100)
	order := notify.Command{ID: "m", Rev: 1, Verb: notify.CommandMode, Mode: remediate.ModeRemediate, Until: time.Now().Add(time.Hour)}
	l.send(t, l.hub, notify.CommandToHost("lab", "hv1"), encoded(t, order))
	l.answer(t, "m", "")
	mode(a, remediate.ModeRemediate)
	stop()
	a, stop = l.run(t, h)
	mode(a, remediate.ModeRemediate)

	// A reload of a configuration that says observe wins, whatever the fleet says.
	cfg := h.cfg
	cfg.Policy.Mode = remediate.ModeObserve
	if _, err := a.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if s := statusOf(t, a); s.Mode != remediate.ModeObserve || s.Fleet.Awaits {
		t.Errorf("configured to observe: %s, %+v", s.Mode, s.Fleet)
	}
	if _, err := a.Reload(t.Context(), h.cfg); err != nil {
		t.Fatal(err)
	}
	mode(a, remediate.ModeRemediate)
	stop()

	// The time of its word runs out.
	a, _ = l.run(t, h)
	if _, err := ask(t.Context(), a, func() struct{} {
		a.fleet.heard.ModeUntil = time.Now().Add(200 * time.Millisecond)
		return struct{}{}
	}); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "it observes again", func() bool { return statusOf(t, a).Mode == remediate.ModeObserve })
}

// TestAHostWithoutTheRightToListen says so once and does all else.
func TestAHostWithoutTheRightToListen(t *testing.T) {
	l := newFleetLab(t)
	a, _ := l.run(t, l.host(t, "hv3"))
	testhost.Eventually(t, "the status tells of it", func() bool {
		f := statusOf(t, a).Fleet
		return f != nil && strings.Contains(f.Problem, "ctwarden.v1.cmd.")
	})
	testhost.Eventually(t, "the events get through, and nothing else is wrong", func() bool {
		s := statusOf(t, a)
		return s.Outbox.Events == 0 && s.NATS.Connected && s.NATS.Problem == "" && s.NATS.Error == ""
	})
}

// TestALocalReleaseNamesTheFleet also where no agent runs.
func TestALocalReleaseNamesTheFleet(t *testing.T) {
	h := newScratch(t)
	now := time.Now()
	if text := FleetHolds(h.cfg.StateDir, h.cfg.RuntimeDir, now); text != "" {
		t.Errorf("nobody holds: %q", text)
	}
	if _, err := h.cfg.fleetHoldPlaces().Set(remediate.Hold{Since: now, Until: now.Add(time.Hour), By: "ann", Fleet: true}); err != nil {
		t.Fatal(err)
	}
	text := FleetHolds(h.cfg.StateDir, h.cfg.RuntimeDir, now)
	for _, word := range []string{"ann", "ctwarden-hub unhold", h.cfg.fleetHoldPlaces().Kept()} {
		if !strings.Contains(text, word) {
			t.Errorf("%q lacks %q", text, word)
		}
	}
	if text := FleetHolds(h.cfg.StateDir, h.cfg.RuntimeDir, now.Add(2*time.Hour)); text != "" {
		t.Errorf("it is over: %q", text)
	}
	if err := os.WriteFile(h.cfg.fleetHoldPlaces().Kept(), []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := FleetHolds(h.cfg.StateDir, h.cfg.RuntimeDir, now); !strings.Contains(text, "noise") {
		t.Errorf("one that is not understood: %q", text)
	}
}

// TestAnOrderAtTheEndOfAnAgent is answered, one way or the other, and does not hold up the stop.
func TestAnOrderAtTheEndOfAnAgent(t *testing.T) {
	h := newScratch(t)
	a, stop, done := runScratch(t, h, time.Minute)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := a.order(context.Background(), notify.Command{ID: "h", Rev: 1, At: time.Now(), By: "ann", Verb: notify.CommandHold}, nil)
	if got.Done || got.Reason != notify.CommandFailed || got.Text == "" {
		t.Errorf("%+v", got)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
