package hub

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testpager"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub/web"
)

func TestOneTroubleIsOnePage(t *testing.T) {
	_, nc, js := newLab(t)
	pager := testpager.Start(t)
	h := startHub(t, "one", nc, paging(pager))
	leads(t, h)
	for _, host := range []string{"a", "b", "c"} {
		publish(t, nc, began("gva", host, 1), began("gva", host, 1))
	}
	testhost.Eventually(t, "the page arrives", func() bool { return pager.Count("trigger") > 0 })
	settled(t, js)
	for _, host := range []string{"a", "b", "c"} {
		publish(t, nc, closed("gva", host, 1))
	}
	testhost.Eventually(t, "the end arrives", func() bool { return pager.Count("resolve") > 0 })
	pages := pager.Pages()
	if first := pages[0]; first.Action != "trigger" || first.Hosts != 3 || first.Site != "gva" {
		t.Errorf("the page is %+v", first)
	}
	if r := pager.Repeated(); r != nil || pager.Count("trigger") != 1 || pager.Count("resolve") != 1 {
		t.Errorf("repeated %q; pages %+v", r, pages)
	}
	groups := pageIncidents{h.Hub}.Groups()
	if len(groups) != 1 || groups[0].Hosts != 3 || groups[0].ClosedAt.IsZero() || groups[0].Drops != 600 {
		t.Errorf("groups %+v", groups)
	}
	testhost.Eventually(t, "the delivery is known", func() bool {
		g, _ := pageIncidents{h.Hub}.Group(t.Context(), groups[0].ID)
		return !slices.ContainsFunc(g.Pages, func(p fleet.PageState) bool { return p.Status != fleet.PageDelivered })
	})
}

func TestTheNextHubGoesOn(t *testing.T) {
	srv, nc, js := newLab(t)
	pager := testpager.Start(t)
	first := startHub(t, "first", nc, paging(pager))
	leads(t, first)
	nc2, _ := connect(t, srv.URL())
	second := startHub(t, "second", nc2, paging(pager))
	publish(t, nc, began("gva", "a", 1))
	testhost.Eventually(t, "the page arrives", func() bool { return pager.Count("trigger") == 1 })
	testhost.Eventually(t, "the hub that stands by shows it", func() bool {
		g := pageIncidents{second.Hub}.Groups()
		return len(g) == 1 && g[0].OpenHosts == 1 && second.Status().Leader == "first"
	})
	settled(t, js)
	first.stop()
	leads(t, second)
	if st := second.Status(); st.Leader != "second" || !st.Loaded || !st.Connected {
		t.Errorf("status %+v", st)
	}
	publish(t, nc, closed("gva", "a", 1))
	testhost.Eventually(t, "the end arrives from the next hub", func() bool { return pager.Count("resolve") == 1 })
	if r := pager.Repeated(); r != nil {
		t.Errorf("repeated: %q", r)
	}
}

// TestOvertaken has a leader that was held up try to write once another leads: not even to a key that nobody else touched.
func TestOvertaken(t *testing.T) {
	_, _, js := newLab(t)
	prefix := prefixIn(t, js)
	old := newStore(js, prefix, "old", 0)
	if err := old.write(t.Context(), []entry{{"lease", []byte("1")}, {"shard.00", []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	next := newStore(js, prefix, "next", 2)
	if err := next.write(t.Context(), []entry{{"lease", []byte("2")}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		rows []entry
	}{
		{"a key of its own", []entry{{"group.1", []byte("y")}, {"group.2", []byte("y")}}},
		{"again, when it knows", []entry{{"group.3", []byte("y")}}},
	} {
		if err := old.write(t.Context(), c.rows); !errors.Is(err, errOvertaken) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
	s, err := js.Stream(t.Context(), "KV_"+FleetBucket)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.LastSeq; n != 3 {
		t.Errorf("%d messages were stored, want 3", n)
	}
	if err := next.write(t.Context(), []entry{{"group.1", nil}, {"shard.00", []byte("z")}}); err != nil {
		t.Errorf("the leader: %v", err)
	}
}

func TestHubNeedsWhatInitMakes(t *testing.T) {
	srv := startServer(t, "127.0.0.1:0", t.TempDir())
	nc, js := connect(t, srv.URL())
	run := func() error {
		h, err := New(Options{Conn: nc, Log: quiet(t), Name: "x"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return h.Run(ctx)
	}
	if err := run(); !errors.Is(err, notify.ErrNoStream) {
		t.Errorf("nothing there: %v", err)
	}
	if _, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(t.Context(), FleetBucket); err != nil {
		t.Fatal(err)
	}
	if err := run(); !errors.Is(err, notify.ErrUnavailable) || !contains(err, "CTWARDEN_FLEET is missing; run ctwarden-hub init") {
		t.Errorf("without the bucket: %v", err)
	}
	if _, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteConsumer(t.Context(), notify.StreamName, Consumer); err != nil {
		t.Fatal(err)
	}
	if err := run(); !errors.Is(err, notify.ErrUnavailable) || !contains(err, "ctwarden-hub init") {
		t.Errorf("without the consumer: %v", err)
	}
}

// TestUnreadableState has a value in the bucket that this version cannot read: the hub does not lead, and overwrites nothing.
func TestUnreadableState(t *testing.T) {
	_, nc, js := newLab(t)
	put := func(value string, header nats.Header) uint64 {
		t.Helper()
		header[writerHeader] = []string{"newer"}
		ack, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: prefixIn(t, js) + "shard.00", Data: []byte(value), Header: header})
		if err != nil {
			t.Fatal(err)
		}
		return ack.Sequence
	}
	written := put("{ of a newer hub", nats.Header{})
	h := startHub(t, "old", nc, Settings{})
	testhost.Eventually(t, "the hub says why it does nothing", func() bool {
		st := h.Status()
		return !st.Leading && st.Problem != ""
	})
	if s, err := js.Stream(t.Context(), "KV_"+FleetBucket); err != nil || s.CachedInfo().State.LastSeq != written {
		t.Errorf("got %+v, %v", s, err)
	}
	put("", nats.Header{opHeader: {opDelete}})
	leads(t, h)
}

// TestResolved ends what its hosts will not: by their states, which no longer list it, and by a person.
func TestResolved(t *testing.T) {
	srv, nc, _ := newLab(t)
	pager := testpager.Start(t)
	s := paging(pager)
	s.Fleet.Routes = []fleet.Route{{To: []string{"pager", "nobody"}, Resolve: true}}
	first := startHub(t, "first", nc, s)
	leads(t, first)
	nc2, _ := connect(t, srv.URL())
	second := startHub(t, "second", nc2, s)
	publish(t, nc, began("gva", "a", 1), began("zrh", "b", 1))
	testhost.Eventually(t, "the pages arrive", func() bool { return pager.Count("trigger") == 2 })
	testhost.Eventually(t, "both hubs show those that nobody can be told", func() bool {
		return len(first.Status().DeadLetters) == 2 && len(second.Status().DeadLetters) == 2
	})
	if d := second.Status().DeadLetters[0]; d.Sender != "nobody" || d.Title == "" || d.Incident == "" || d.Error == "" || d.Action != "trigger" {
		t.Errorf("dead letter %+v", d)
	}
	var zrh string
	for _, g := range (pageIncidents{first.Hub}).Groups() {
		if g.Sites["zrh"] > 0 {
			zrh = g.ID
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := second.Do(ctx, web.Action{Verb: web.VerbResolve, Incident: zrh, By: "ada"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id   string
		want error
	}{{zrh, web.ErrConflict}, {"nope", web.ErrNotFound}} {
		if _, err := second.Do(ctx, web.Action{Verb: web.VerbResolve, Incident: c.id, By: "ada"}); !errors.Is(err, c.want) {
			t.Errorf("resolve %s: %v", c.id, err)
		}
	}
	testhost.Eventually(t, "its end is told", func() bool { return pager.Count("resolve") == 1 })
	testhost.Eventually(t, "states without it end the other", func() bool {
		putState(t, nc, "gva", "a", stateOf("gva", "a", 5, nil))
		return pager.Count("resolve") == 2
	})
}

func TestAskedOfAnyHub(t *testing.T) {
	srv, nc, _ := newLab(t)
	pager := testpager.Start(t)
	first := startHub(t, "first", nc, paging(pager))
	leads(t, first)
	nc2, _ := connect(t, srv.URL())
	second := startHub(t, "second", nc2, paging(pager))
	publish(t, nc, began("gva", "a", 1))
	testhost.Eventually(t, "the page arrives", func() bool { return pager.Count("trigger") == 1 })
	id := pageIncidents{first.Hub}.Groups()[0].ID
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, c := range []struct {
		name   string
		action web.Action
		want   error
	}{
		{"no such incident", web.Action{Verb: web.VerbAcknowledge, Incident: "nope", By: "ada"}, web.ErrNotFound},
		{"nobody", web.Action{Verb: web.VerbAcknowledge, Incident: id}, web.ErrInvalid},
		{"no such verb", web.Action{Verb: "dance", By: "ada"}, web.ErrInvalid},
		{"a hold in the past", web.Action{Verb: web.VerbHold, By: "ada", Until: time.Unix(1, 0)}, web.ErrInvalid},
		{"a host without its site", web.Action{Verb: web.VerbHold, By: "ada", Host: "a"}, web.ErrInvalid},
		{"a hold that is not there", web.Action{Verb: web.VerbUnhold, By: "ada", Site: "gva"}, web.ErrNotFound},
		{"acknowledged", web.Action{Verb: web.VerbAcknowledge, Incident: id, By: "ada"}, nil},
	} {
		if _, err := second.Do(ctx, c.action); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	testhost.Eventually(t, "both show who took it", func() bool {
		a, _ := pageIncidents{first.Hub}.Group(t.Context(), id)
		b, _ := pageIncidents{second.Hub}.Group(t.Context(), id)
		return a.AckBy == "ada" && b.AckBy == "ada"
	})
	silence, err := second.Do(ctx, web.Action{Verb: web.VerbSilence, By: "ada", Silence: fleet.Silence{Site: "gva", Until: time.Now().Add(time.Hour)}})
	if err != nil || silence.ID == "" {
		t.Fatalf("silence: %+v, %v", silence, err)
	}
	testhost.Eventually(t, "the silence is shown", func() bool { return len(second.Status().Silences) == 1 })
	if _, err := second.Do(ctx, web.Action{Verb: web.VerbUnsilence, By: "ada", Silence: fleet.Silence{ID: silence.ID}}); err != nil {
		t.Error(err)
	}
	first.stop()
	second.stop()
	if _, err := Ask(ctx, nc, web.Action{Verb: web.VerbAcknowledge, Incident: id, By: "ada"}); !errors.Is(err, web.ErrNoLeader) {
		t.Errorf("without a hub: %v", err)
	}
}

// agentOf answers the orders to one host as an agent does.
func agentOf(t *testing.T, nc *nats.Conn, site, host string, answer func(notify.Command) notify.Answer) {
	t.Helper()
	for _, subject := range notify.CommandSubjects(site, host) {
		_, err := nc.Subscribe(subject, func(m *nats.Msg) {
			c, err := notify.DecodeCommand(m.Data)
			if err != nil {
				t.Errorf("order to %s: %v", host, err)
				return
			}
			a := answer(c)
			a.ID, a.Rev, a.Site, a.Host, a.At = c.ID, c.Rev, site, host, time.Now()
			body, err := a.Encode()
			if err == nil {
				err = nc.Publish(notify.AnswerSubject(site, host), body)
			}
			if err != nil && !errors.Is(err, nats.ErrConnectionClosed) { // the test may be over with the order
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestHoldIsAnsweredJournalledAndRepeated(t *testing.T) {
	_, nc, js := newLab(t)
	h := startHub(t, "one", nc, Settings{})
	leads(t, h)
	orders := make(chan notify.Command, 100)
	agentOf(t, nc, "gva", "a", func(c notify.Command) notify.Answer { orders <- c; return notify.Answer{Done: true} })
	agentOf(t, nc, "gva", "b", func(notify.Command) notify.Answer {
		return notify.Answer{Reason: notify.CommandFailed, Text: "the disk is full"}
	})
	agentOf(t, nc, "zrh", "x", func(c notify.Command) notify.Answer {
		t.Errorf("an order of another site came: %+v", c)
		return notify.Answer{Done: true}
	})
	for _, host := range []string{"a", "b", "mute"} {
		putState(t, nc, "gva", host, stateOf("gva", host, 5, &notify.FleetState{}))
	}
	putState(t, nc, "zrh", "x", stateOf("zrh", "x", 5, &notify.FleetState{}))
	testhost.Eventually(t, "the states are read", func() bool {
		n := 0
		h.hosts.each(func(hostState, time.Time) { n++ })
		return n == 4
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := h.Do(ctx, web.Action{Verb: web.VerbHold, By: "ada", Site: "gva", Why: "change", Until: time.Now().Add(time.Hour)})
	if err != nil || r.Reached != 2 || r.Done != 1 || r.Refused != 1 || r.Missing != 1 {
		t.Fatalf("got %+v, %v", r, err)
	}
	c := <-orders
	held := c.Rev
	if c.Verb != notify.CommandHold || c.By != "ada" || c.Why != "change" || c.Rev == 0 || c.Until.IsZero() {
		t.Errorf("order %+v", c)
	}
	if held := h.Status().Holds; len(held) != 1 || held[0].Done != 1 || held[0].Refused != 1 || held[0].Missing != 1 {
		t.Errorf("holds %+v", held)
	}
	testhost.Eventually(t, "order and answers are journalled", func() bool {
		s, err := js.Stream(t.Context(), notify.CommandsStream)
		return err == nil && s.CachedInfo().State.Msgs >= 3
	})
	// A host that comes later, or missed it, says in its state that it does not hold.
	agentOf(t, nc, "gva", "late", func(c notify.Command) notify.Answer { orders <- c; return notify.Answer{Done: true} })
	putState(t, nc, "gva", "late", stateOf("gva", "late", 5, &notify.FleetState{}))
	if c := <-orders; c.Verb != notify.CommandHold || c.By != "ada" || c.Until.IsZero() {
		t.Errorf("told again: %+v", c)
	}
	r, err = h.Do(ctx, web.Action{Verb: web.VerbUnhold, By: "ada", Site: "gva"})
	if err != nil || r.Done != 2 {
		t.Errorf("unhold: %+v, %v", r, err)
	}
	for range 2 {
		if c := <-orders; c.Verb != notify.CommandUnhold || c.Rev <= held {
			t.Errorf("order %+v", c)
		}
	}
}

// TestOneHoldLeavesTheOther releases a site's hold while one of its hosts is held by itself.
func TestOneHoldLeavesTheOther(t *testing.T) {
	_, nc, _ := newLab(t)
	h := startHub(t, "one", nc, Settings{})
	leads(t, h)
	last := map[string]chan notify.Command{}
	for _, host := range []string{"a", "b"} {
		orders := make(chan notify.Command, 100)
		last[host] = orders
		agentOf(t, nc, "gva", host, func(c notify.Command) notify.Answer { orders <- c; return notify.Answer{Done: true} })
		putState(t, nc, "gva", host, stateOf("gva", host, 5, &notify.FleetState{}))
	}
	testhost.Eventually(t, "the states are read", func() bool { return h.hosts.current() >= 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, a := range []web.Action{
		{Verb: web.VerbHold, By: "ada", Site: "gva", Until: time.Now().Add(time.Hour)},
		{Verb: web.VerbHold, By: "bob", Site: "gva", Host: "a"},
		{Verb: web.VerbUnhold, By: "ada", Site: "gva"},
	} {
		if r, err := h.Do(ctx, a); err != nil || r.Missing != 0 {
			t.Fatalf("%s by %s: %+v, %v", a.Verb, a.By, r, err)
		}
	}
	for host, want := range map[string]notify.CommandVerb{"a": notify.CommandHold, "b": notify.CommandUnhold} {
		var c notify.Command
		for len(last[host]) > 0 {
			if c = <-last[host]; host == "a" && c.Verb != notify.CommandHold {
				t.Errorf("host a was released in between: %+v", c)
			}
		}
		if c.Verb != want {
			t.Errorf("the last order to %s is %+v", host, c)
		}
	}
}

func TestRowsFollowStates(t *testing.T) {
	_, nc, js := newLab(t)
	h := startHub(t, "one", nc, Settings{})
	leads(t, h)
	putState(t, nc, "gva", "hv1.example", stateOf("gva", "hv1.example", 131072, nil))
	putState(t, nc, "gva", "liar", stateOf("gva", "another", 1, nil))
	p := pageFleet{h.Hub}
	testhost.Eventually(t, "the row is there", func() bool { return p.Revision() > 0 })
	publish(t, nc, began("gva", "hv1.example", 1))
	var row web.Row
	testhost.Eventually(t, "the row shows the incident", func() bool {
		p.Rows(0, func(r web.Row) { row = r })
		return row.Severity != ""
	})
	if row.Host != "hv1.example" || row.Count != 131072 || row.Max != 262144 || row.Refused != 8 || row.Severity != "critical" || row.Silent {
		t.Errorf("row %+v", row)
	}
	d, err := p.Host(t.Context(), "gva", "hv1.example")
	if err != nil || len(d.Points) != 1 || d.Points[0].Count != 131072 || len(d.Incidents) != 1 || len(d.Status) == 0 {
		t.Errorf("detail %+v, %v", d, err)
	}
	if _, err := p.Host(t.Context(), "gva", "another"); !errors.Is(err, web.ErrNotFound) {
		t.Errorf("a host in whose name another wrote: %v", err)
	}
	if err := js.DeleteStream(t.Context(), "KV_"+notify.HostsBucket); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Host(t.Context(), "gva", "hv1.example"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without the bucket: %v", err)
	}
}
