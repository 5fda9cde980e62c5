package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
	"github.com/ctwarden/ctwarden/notify/hub/web"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	hostA = "hv1.example"
	hostB = "hv2.example"
)

// access is how the users of a server of one form sign in.
type access struct {
	url string
	// dial is how a user signs in: gva.<token of host>, hub, operator or admin.
	dial func(user string) notify.Dial
}

// printed is what init prints.
func printed(t *testing.T, form, host string) string {
	t.Helper()
	var b strings.Builder
	if err := printPermissions(&b, form, "gva", host); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// oneFile joins what is printed for two hosts to one file of a server, with an administrator.
func oneFile(t *testing.T, form, admin string) string {
	t.Helper()
	entries := regexp.MustCompile(`(?s)    # .*?\n    \} \}\n`)
	a, b := entries.FindAllString(printed(t, form, hostA), -1), entries.FindAllString(printed(t, form, hostB), -1)
	if len(a) != 3 || len(b) != 3 {
		t.Fatalf("%d and %d entries in %s", len(a), len(b), printed(t, form, hostA))
	}
	return "authorization {\n  users: [\n" + strings.Join(append(a, b[0], admin), "") + "  ]\n}\n"
}

// serverOf starts a server from a configuration file.
func serverOf(t *testing.T, text string, change func(*server.Options)) string {
	t.Helper()
	return startServer(t, text, change).ClientURL()
}

func startServer(t *testing.T, text string, change func(*server.Options)) *server.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	text += fmt.Sprintf("listen: 127.0.0.1:-1\njetstream { store_dir: %q }\n", t.TempDir())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	o.NoLog, o.NoSigs = true, true
	if change != nil {
		change(o)
	}
	ns, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	return ns
}

func withPasswords(t *testing.T) access {
	text := oneFile(t, "config", "    { user: admin, password: pw }\n")
	url := serverOf(t, strings.ReplaceAll(text, "HASH OF ITS PASSWORD", "pw"), nil)
	return access{url, func(user string) notify.Dial {
		return notify.Dial{Servers: []string{strings.Replace(url, "//", "//"+user+":pw@", 1)}}
	}}
}

// keyOf makes a user's key: the file with its seed, and the public key.
func keyOf(t *testing.T) (file, public string) {
	t.Helper()
	k, public := pair(t, nkeys.CreateUser)
	seed, err := k.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(file, append(seed, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, public
}

// keyText is the users' part of a server's file, as init prints it, with a key for each and for an administrator.
func keyText(t *testing.T) (text string, seeds map[string]string) {
	t.Helper()
	seeds = map[string]string{}
	key := func(user string) (public string) {
		seeds[user], public = keyOf(t)
		return public
	}
	text = oneFile(t, "nkey", fmt.Sprintf("    { nkey: %s }\n", key("admin")))
	return regexp.MustCompile(`PUBLIC KEY OF ([^"]+)`).ReplaceAllStringFunc(text, func(found string) string {
		return key(strings.TrimPrefix(found, "PUBLIC KEY OF "))
	}), seeds
}

func withKeys(t *testing.T) access {
	text, seeds := keyText(t)
	url := serverOf(t, text, nil)
	return access{url, func(user string) notify.Dial { return notify.Dial{Servers: []string{url}, Credentials: seeds[user]} }}
}

func withTokens(t *testing.T) access {
	m := newOperatorMode(t)
	return access{m.url, func(user string) notify.Dial {
		return notify.Dial{Servers: []string{m.url}, Credentials: m.user(user, time.Time{})}
	}}
}

// guarded is a connection that keeps what the server refused.
type guarded struct {
	*nats.Conn
	t       *testing.T
	refused chan error // has room for all refusals of a test
}

func (a access) connect(t *testing.T, user, inbox string) *guarded {
	t.Helper()
	d := a.dial(user)
	d.InboxPrefix = inbox
	g := &guarded{t: t, refused: make(chan error, 100)}
	nc, err := d.Connect(nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { g.refused <- err }))
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	t.Cleanup(nc.Close)
	g.Conn = nc
	return g
}

// may flushes, and fails the test where the server refused what was done.
func (g *guarded) may(what string, err error) {
	g.t.Helper()
	if err == nil {
		err = g.Flush()
	}
	if err == nil && len(g.refused) > 0 {
		err = <-g.refused
	}
	if err != nil {
		g.t.Errorf("%s: %v", what, err)
	}
}

// mayNot fails the test where the server did not refuse it.
func (g *guarded) mayNot(what string, err error) {
	g.t.Helper()
	if err == nil {
		err = g.Flush()
	}
	if err != nil {
		g.t.Errorf("%s: %v", what, err)
		return
	}
	select {
	case err = <-g.refused:
	case <-time.After(10 * time.Second):
	}
	if notify.Denied(err) == nil {
		g.t.Errorf("%s: not refused: %v", what, err)
	}
}

func (g *guarded) subscribe(subject string) error {
	_, err := g.SubscribeSync(subject)
	return err
}

// TestPermissions has a real server of each form, set up from what init prints, and tries what each role may and may not do.
func TestPermissions(t *testing.T) {
	for _, form := range []struct {
		name  string
		start func(*testing.T) access
	}{{"config", withPasswords}, {"nkey", withKeys}, {"jwt", withTokens}} {
		t.Run(form.name, func(t *testing.T) {
			a := form.start(t)
			admin := a.connect(t, "admin", "")
			if _, err := hub.Setup(t.Context(), admin.Conn, hub.SetupOptions{MaxBytes: 8 << 20}); err != nil {
				t.Fatal(err)
			}
			tryHost(t, a)
			tryHub(t, a)
			tryReplies(t, a, admin)
		})
	}
}

func opened(t *testing.T, site, host, id string) notify.Outgoing {
	t.Helper()
	at := time.Now().UTC()
	ev, err := notify.Encode(notify.Identity{Host: host, Site: site, Version: "v1"}, remediate.Event{
		ID: id, Type: remediate.EventIncidentOpened, Time: at,
		Data: remediate.Incident{ID: "inc-" + id, Severity: remediate.SeverityCritical, Verified: true, OpenedAt: at, Drops: 1, Count: 10, Max: 10},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func tryHost(t *testing.T, a access) {
	token, other := notify.HostToken(hostA), notify.HostToken(hostB)
	g := a.connect(t, "gva."+token, notify.InboxPrefix("gva", hostA))
	own, foreign := opened(t, "gva", hostA, "ev-a"), opened(t, "gva", hostB, "ev-b")
	if _, err := g.Request(own.Subject, own.Body, 10*time.Second); err != nil {
		t.Errorf("its own event: %v", err)
	}
	if _, err := g.Request(notify.HostStateSubject("gva", hostA), []byte("{}"), 10*time.Second); err != nil {
		t.Errorf("its own state: %v", err)
	}
	g.may("its own answer", g.Publish(notify.AnswerSubject("gva", hostA), nil))
	for _, subject := range notify.CommandSubjects("gva", hostA) {
		g.may("hear "+subject, g.subscribe(subject))
	}
	for _, subject := range []string{
		foreign.Subject, notify.Subject("zrh", hostA, remediate.EventStepApplied), notify.HostStateSubject("gva", hostB),
		notify.AnswerSubject("gva", hostB), notify.CommandToHost("gva", hostA), notify.CommandToAll(), hub.DoSubject,
		"$JS.API.STREAM.INFO.CTWARDEN", "$JS.API.STREAM.DELETE.CTWARDEN", "$KV.CTWARDEN_FLEET.lease", "_INBOX.gva." + other + ".x",
	} {
		g.mayNot("publish "+subject, g.Publish(subject, foreign.Body))
	}
	for _, subject := range []string{
		"ctwarden.v1.ev.>", notify.CommandToSite("zrh"), notify.CommandToHost("gva", hostB), "ctwarden.v1.cmd.>",
		notify.AnswerPrefix + ".>", "$KV.>", "_INBOX.>", "_INBOX.gva." + other + ".>", hub.DoSubject, ">",
	} {
		g.mayNot("hear "+subject, g.subscribe(subject))
	}
}

// startWithItsRights runs a hub that has a hub's own rights alone, until end.
func startWithItsRights(t *testing.T, a access) (g *guarded, h *hub.Hub, end func()) {
	t.Helper()
	g = a.connect(t, "hub", hub.InboxPrefix)
	h, err := hub.New(hub.Options{Conn: g.Conn, Log: zap.NewNop(), Name: "hub", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	return g, h, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("hub: %v", err)
		}
	}
}

// tryHub runs a hub with its own rights alone, and has an operator order a hold, which a host hears.
func tryHub(t *testing.T, a access) {
	g, h, end := startWithItsRights(t, a)
	defer end()
	testhost.Eventually(t, "the hub leads and has the event", func() bool { return h.Status().Leading && h.Status().Events > 0 })
	agent := a.connect(t, "gva."+notify.HostToken(hostA), notify.InboxPrefix("gva", hostA))
	orders, err := agent.SubscribeSync(notify.CommandToSite("gva"))
	agent.may("hear its site", err)
	operator := a.connect(t, "operator", notify.OperatorInbox)
	result, err := hub.Ask(t.Context(), operator.Conn, web.Action{Verb: web.VerbHold, By: "ada", Site: "gva", Until: time.Now().Add(time.Hour)})
	if err != nil {
		t.Errorf("hold: %+v, %v", result, err)
	}
	if m, err := orders.NextMsg(10 * time.Second); err != nil || !strings.Contains(string(m.Data), `"hold"`) {
		t.Errorf("the host heard %v, %v", m, err)
	}
	seen := make(chan struct{}, 10)
	follow, stop := context.WithCancel(t.Context())
	err = notify.Events(follow, a.dial("operator"), notify.Filter{Since: time.Hour}, func([]byte) error {
		seen <- struct{}{}
		stop()
		return nil
	})
	if err != nil || len(seen) == 0 {
		t.Errorf("an operator reads %d events: %v", len(seen), err)
	}
	if _, err := (pageOf(h)).Host(t.Context(), "gva", hostA); err != nil {
		t.Errorf("the hub reads a state: %v", err)
	}
	for len(g.refused) > 0 {
		t.Errorf("the hub was refused: %v", <-g.refused)
	}
	ev := opened(t, "gva", hostA, "forged")
	g.mayNot("the hub publishes an event", g.Publish(ev.Subject, ev.Body))
	g.mayNot("the hub deletes the stream", g.Publish("$JS.API.STREAM.DELETE.CTWARDEN", nil))
	g.mayNot("the hub writes a state", g.Publish(notify.HostStateSubject("gva", hostA), []byte("{}")))
	operator.mayNot("an operator orders without the hub", operator.Publish(notify.CommandToAll(), nil))
	operator.mayNot("an operator publishes an event", operator.Publish(ev.Subject, ev.Body))
	operator.mayNot("an operator writes the hub's bucket", operator.Publish("$KV.CTWARDEN_FLEET.lease", nil))
	for _, api := range []string{
		"CONSUMER.CREATE.CTWARDEN.hub", "CONSUMER.CREATE.CTWARDEN.hub.ctwarden.v1.ev.>", "CONSUMER.MSG.NEXT.CTWARDEN.hub", "CONSUMER.DELETE.CTWARDEN.hub",
		"STREAM.INFO.KV_CTWARDEN_FLEET",
	} {
		operator.mayNot("an operator asks "+api, operator.Publish("$JS.API."+api, nil))
	}
	operator.mayNot("an operator hears a host's inbox", operator.subscribe("_INBOX.gva.>"))
}

func pageOf(h *hub.Hub) web.Fleet { return h.Page(web.Access{}).Fleet }

// tryReplies has a host that was taken over name subjects of the hubs' and of other hosts as those to which the server is to
// send its acknowledgements: what comes about there is the server's own message, for which nobody's permission is asked.
// And it has the host ask for its bucket to be rolled up, which leaves one message of all.
func tryReplies(t *testing.T, a access, admin *guarded) {
	_, h, end := startWithItsRights(t, a)
	defer end()
	testhost.Eventually(t, "the hub leads", func() bool { return h.Status().Leading })
	operator := a.connect(t, "operator", notify.OperatorInbox)
	if _, err := hub.Ask(t.Context(), operator.Conn, web.Action{Verb: web.VerbHold, By: "ada", Site: "gva", Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(admin.Conn)
	if err != nil {
		t.Fatal(err)
	}
	other := []byte(`{"host":"` + hostB + `","site":"gva"}`)
	if _, err := js.Publish(t.Context(), notify.HostStateSubject("gva", hostB), other); err != nil {
		t.Fatal(err)
	}
	evil := a.connect(t, "gva."+notify.HostToken(hostA), notify.InboxPrefix("gva", hostA))
	before := h.Status().Events
	replies := []string{
		"$KV.CTWARDEN_FLEET.control", "$KV.CTWARDEN_FLEET.lease", "$KV.CTWARDEN_FLEET.shard.00", notify.Subject("gva", hostB, remediate.EventStepApplied),
		"$JS.API.STREAM.PURGE.KV_CTWARDEN_FLEET", "$JS.API.STREAM.PURGE.CTWARDEN", "$JS.API.STREAM.DELETE.KV_CTWARDEN_FLEET",
		"$JS.API.CONSUMER.DELETE.CTWARDEN.hub", "$JS.API.CONSUMER.MSG.NEXT.CTWARDEN.hub", hub.DoSubject, notify.CommandToAll(),
	}
	for i, reply := range replies {
		ev := opened(t, "gva", hostA, fmt.Sprint("ev-reply-", i))
		evil.may("publish with reply "+reply, evil.PublishRequest(ev.Subject, reply, ev.Body))
	}
	for _, roll := range []string{"all", "sub"} {
		m := &nats.Msg{Subject: notify.HostStateSubject("gva", hostA), Data: []byte("{}"), Header: nats.Header{"Nats-Rollup": {roll}}}
		evil.may("roll up", evil.PublishMsg(m))
	}
	testhost.Eventually(t, "all events are taken", func() bool { return h.Status().Events == before+uint64(len(replies)) })
	fleet, err := js.Stream(t.Context(), "KV_CTWARDEN_FLEET")
	if err != nil {
		t.Fatal(err)
	}
	info, err := fleet.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range replies {
		if n := info.State.Subjects[reply]; n > 0 {
			t.Errorf("%d messages of no hub in its bucket at %s", n, reply)
		}
	}
	st := h.Status()
	if len(st.Holds) != 1 || st.Holds[0].By != "ada" || !st.Leading || st.Foreign != 0 {
		t.Errorf("holds %+v, leading %v, of no hub %d", st.Holds, st.Leading, st.Foreign)
	}
	hosts, err := js.Stream(t.Context(), "KV_CTWARDEN_HOSTS")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := hosts.GetLastMsgForSubject(t.Context(), notify.HostStateSubject("gva", hostB)); err != nil || string(m.Data) != string(other) {
		t.Errorf("the other host's state is %v, %v", m, err)
	}
}
