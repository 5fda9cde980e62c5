package hub

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testpager"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/oncall"
)

// TestHungLeaderGivesWay has the leader's loop hang with pages that are saved and not sent: another hub leads and sends them,
// and the first sends none when it goes on, and leaves the lease alone.
func TestHungLeaderGivesWay(t *testing.T) {
	srv, nc, _ := newLab(t)
	pager := testpager.Start(t)
	hang, going := make(chan struct{}), sync.Once{}
	release := func() { going.Do(func() { close(hang) }) }
	first := startHubWith(t, Options{Conn: nc, Name: "first", Version: "test", Settings: paging(pager), Fail: func(string) { <-hang }})
	t.Cleanup(release)
	leads(t, first)
	nc2, _ := connect(t, srv.URL())
	second := startHub(t, "second", nc2, paging(pager))
	publish(t, nc2, began("gva", "a", 1))
	testhost.Eventually(t, "the other hub leads", func() bool { return second.Status().Leading })
	testhost.Eventually(t, "the page arrives", func() bool { return pager.Count("trigger") > 0 })
	if first.Moves(loopPatience) {
		t.Error("the hub that hangs says that it goes on")
	}
	release()
	testhost.Eventually(t, "the first stands by", func() bool { return first.Status().Leader == "second" && first.Moves(time.Second) })
	publish(t, nc2, began("zrh", "b", 1))
	testhost.Eventually(t, "the next page arrives", func() bool { return pager.Count("trigger") > 1 })
	if r := pager.Repeated(); r != nil || pager.Count("trigger") != 2 {
		t.Errorf("%d pages; repeated: %q", pager.Count("trigger"), r)
	}
	if first.aside.Before(time.Now()) {
		t.Error("the hub whose term failed does not leave the lease to others")
	}
}

// TestSlowTerminal has what prints the events take nothing: pages go out, events are saved, and what does not fit is counted
// and acknowledged all the same.
func TestSlowTerminal(t *testing.T) {
	_, nc, js := newLab(t)
	pager := testpager.Start(t)
	var printed atomic.Int64
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	h := startHubWith(t, Options{Conn: nc, Name: "one", Version: "test", Settings: paging(pager), Print: func(notify.Received, []byte) error {
		<-gate
		printed.Add(1)
		return nil
	}})
	t.Cleanup(open)
	leads(t, h)
	const events = printEvents + 2*maxBatch
	var all []notify.Outgoing
	for i := range events {
		all = append(all, began("gva", fmt.Sprint("h", i), 1))
	}
	publish(t, nc, all[:1]...)
	testhost.Eventually(t, "the page arrives", func() bool { return pager.Count("trigger") == 1 })
	publish(t, nc, all[1:]...)
	testhost.Eventually(t, "all are taken, and some left out", func() bool {
		st := h.Status()
		return st.Events >= events && st.Unprinted > 0
	})
	open()
	settled(t, js)
	testhost.Eventually(t, "the rest is printed", func() bool {
		return uint64(printed.Load())+h.Status().Unprinted >= events
	})
	if n := printed.Load(); n > events {
		t.Errorf("%d of %d events were printed: some twice", n, events)
	}
}

// TestPrintFails: what cannot be printed ends the hub, as where nobody reads its pipe any more, and the event comes again.
func TestPrintFails(t *testing.T) {
	_, nc, js := newLab(t)
	broken := errors.New("broken pipe")
	h, err := New(Options{Conn: nc, Log: quiet(t), Name: "one", Print: func(notify.Received, []byte) error { return broken }})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, nc, began("gva", "a", 1))
	if err := h.Run(t.Context()); !errors.Is(err, broken) || err.Error() != "print: broken pipe" {
		t.Errorf("got %v", err)
	}
	c, err := js.Consumer(t.Context(), notify.StreamName, Consumer)
	if err != nil || c.CachedInfo().AckFloor.Stream != 0 {
		t.Errorf("got %+v, %v", c, err)
	}
}

// TestReloadKeepsWhatWasTold changes a sender to a place that forgets: it is told again of what the one before told.
func TestReloadKeepsWhatWasTold(t *testing.T) {
	_, nc, _ := newLab(t)
	var before, after atomic.Int64
	posts := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/new/api/v2/alerts" {
			after.Add(1)
		} else {
			before.Add(1)
		}
	}))
	defer posts.Close()
	to := func(url string) Settings {
		return Settings{
			Fleet:   fleet.Config{GroupBy: []string{fleet.GroupBySite}, GroupWait: time.Second, Senders: []string{"am"}},
			Senders: []oncall.Config{{Name: "am", Alertmanager: &oncall.AlertmanagerConfig{URLs: []string{url}, Resend: time.Second}}},
		}
	}
	h := startHub(t, "one", nc, to(posts.URL))
	leads(t, h)
	publish(t, nc, began("gva", "a", 1))
	testhost.Eventually(t, "the alert is told", func() bool { return before.Load() > 0 })
	h.Configure(to(posts.URL + "/new"))
	testhost.Eventually(t, "the new one is told what is open", func() bool { return after.Load() > 1 })
	told := before.Load()
	testhost.Eventually(t, "and again", func() bool { return after.Load() > 3 })
	if before.Load() > told {
		t.Error("the old sender still tells")
	}
}

// TestReloadDuringAnAttempt changes a sender while a page of it is on its way: it arrives once.
func TestReloadDuringAnAttempt(t *testing.T) {
	_, nc, js := newLab(t)
	pager := testpager.Start(t)
	arrived, gate := make(chan struct{}, 10), make(chan struct{})
	var cutOff atomic.Bool // on a slow machine the attempt may be given up, and then has to be made again
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-gate:
		case <-r.Context().Done():
			cutOff.Store(true)
		}
	}))
	defer slow.Close()
	s := paging(pager)
	s.Senders[0].Webhook = &oncall.WebhookConfig{URL: slow.URL, Secret: pager.SecretFile}
	h := startHub(t, "one", nc, s)
	leads(t, h)
	publish(t, nc, began("gva", "a", 1))
	<-arrived
	h.Configure(paging(pager))
	testhost.Eventually(t, "the settings are in force", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.leading.queues.all["pager"].config.Webhook.URL == pager.URL
	})
	publish(t, nc, began("zrh", "b", 1))
	settled(t, js) // a save: had the page been due again, the new sender would have it
	close(gate)
	testhost.Eventually(t, "the next page arrives", func() bool { return pager.Count("trigger") > 0 })
	publish(t, nc, closed("gva", "a", 1), closed("zrh", "b", 1))
	testhost.Eventually(t, "the ends arrive", func() bool { return pager.Count("resolve") == 2 })
	if !cutOff.Load() && pager.Count("trigger") != 1 || len(arrived) != 0 {
		t.Errorf("pages %+v, and %d more at the old place", pager.Pages(), len(arrived))
	}
}

func TestLeaseByBothClocks(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		at   time.Time
		want bool
	}{
		{"just written", now, true},
		{"long ago", now.Add(-leaseSafe), false},
		{"by the wall clock alone", now.Round(0).Add(-leaseSafe), false}, // the machine slept
	} {
		s := &store{}
		s.alive.Store(&c.at)
		if got := s.left() > 0; got != c.want {
			t.Errorf("%s: left %v", c.name, s.left())
		}
	}
	if (&store{}).left() > 0 {
		t.Error("a lease that was never written holds")
	}
}
