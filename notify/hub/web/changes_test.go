package web

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

// message is one server-sent event.
type message struct{ event, data string }

// follow reads the changes until the test ends. The channel is closed when the stream ends.
func (r *reader) follow(query string) <-chan message {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", r.url+"/api/v1/changes?"+query, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("got %d %v", res.StatusCode, res.Header)
	}
	out := make(chan message) // unbuffered: closed at the end of the stream
	go func() {
		defer close(out)
		defer res.Body.Close()
		lines := bufio.NewReader(res.Body)
		for {
			event, err := lines.ReadString('\n')
			data, err2 := lines.ReadString('\n')
			_, err3 := lines.ReadString('\n')
			if err != nil || err2 != nil || err3 != nil {
				return
			}
			m := message{strings.TrimPrefix(strings.TrimSpace(event), "event: "), strings.TrimPrefix(strings.TrimSpace(data), "data: ")}
			select {
			case out <- m:
			case <-req.Context().Done():
				return
			}
		}
	}()
	return out
}

// next waits for a message of that kind.
func next(t *testing.T, from <-chan message, event string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		select {
		case m, more := <-from:
			if !more {
				t.Fatalf("the stream ended before %q", event)
			}
			if m.event == event {
				return m.data
			}
		case <-ctx.Done():
			t.Fatalf("no %q came", event)
		}
	}
}

// load has the fleet, as a page that was just opened.
func (r *reader) load(t *testing.T) *copyOfRows {
	t.Helper()
	var c copyOfRows
	c.take(t, r.get("/api/v1/fleet").want(t, http.StatusOK, columnsMagic).body)
	return &c
}

func (c *copyOfRows) query() string {
	return fmt.Sprintf("epoch=%s&since=%d", c.head.Epoch, c.head.Revision)
}

func TestChangesFollow(t *testing.T) {
	hub := newFakeHub()
	hub.fleet.put(Row{Site: "s", Host: "a", Max: 10})
	r := serve(t, hub, Access{}).reader(t)
	c := r.load(t)
	changes := r.follow(c.query())
	if data := next(t, changes, "status"); !strings.Contains(data, `"leader":"hub-a"`) {
		t.Errorf("got %s", data)
	}
	for i := range 3 {
		hub.fleet.put(Row{Site: "s", Host: "a", Max: 10, Count: uint64(i + 1)}, Row{Site: "s", Host: fmt.Sprint("b", i)})
		doc, err := base64.StdEncoding.DecodeString(next(t, changes, "rows"))
		if err != nil {
			t.Fatal(err)
		}
		c.take(t, doc)
		if got := c.all()[HostRef{"s", "a"}].Count; got != uint64(i+1) || len(c.all()) != i+2 {
			t.Errorf("got %d of %d hosts", got, len(c.all()))
		}
	}
	hub.incidents.put(fleet.Group{ID: "g9"})
	if data := next(t, changes, "incidents"); !strings.Contains(data, `"g9"`) {
		t.Errorf("got %s", data)
	}
	hub.set(func(s *Status) { s.Leader = "hub-b" })
	if data := next(t, changes, "status"); !strings.Contains(data, "hub-b") {
		t.Errorf("got %s", data)
	}
}

// TestChangesOfAnother: who has what this hub does not know of is told to load anew.
func TestChangesOfAnother(t *testing.T) {
	hub := newFakeHub()
	hub.fleet.put(Row{Site: "s", Host: "a"})
	r := serve(t, hub, Access{}).reader(t)
	c := r.load(t)
	for name, query := range map[string]string{
		"another epoch": "epoch=x&since=1", "from the future": "epoch=" + c.head.Epoch + "&since=99", "no number": "epoch=" + c.head.Epoch + "&since=x", "nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			changes := r.follow(query)
			next(t, changes, "reload")
			if m, more := <-changes; more {
				t.Errorf("the stream goes on with %v", m)
			}
		})
	}
}

// TestChangesMerge: one who was away gets one message with the last of everything.
func TestChangesMerge(t *testing.T) {
	hub := newFakeHub()
	hub.fleet.put(Row{Site: "s", Host: "a", Max: 10})
	s := serve(t, hub, Access{})
	r := s.reader(t)
	c := r.load(t)
	for i := range 5 {
		hub.fleet.put(Row{Site: "s", Host: "a", Max: 10, Count: uint64(i + 1)})
		s.board.refresh(&hub.fleet)
	}
	doc, err := base64.StdEncoding.DecodeString(next(t, r.follow(c.query()), "rows"))
	if err != nil {
		t.Fatal(err)
	}
	c.take(t, doc)
	if got := c.all()[HostRef{"s", "a"}].Count; got != 5 {
		t.Errorf("got %d", got)
	}
}

// TestChangesOutlastTimeouts: the server's limits on requests and answers do not end the stream.
func TestChangesOutlastTimeouts(t *testing.T) {
	hub := newFakeHub()
	hub.fleet.put(Row{Site: "s", Host: "a", Max: 10})
	h, err := New(Config{Fleet: &hub.fleet, Incidents: &hub.incidents, Hub: hub, Doer: hub, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	srv.Start()
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1) // one element: the end of Run
	go func() { done <- h.Run(ctx) }()
	r := (&site{h, hub, srv.URL}).reader(t)
	c := r.load(t)
	changes := r.follow(c.query())
	next(t, changes, "status")
	for i := range 12 { // each is told 200 ms after the one before: more than two seconds
		hub.fleet.put(Row{Site: "s", Host: "a", Max: 10, Count: uint64(i + 1)})
		next(t, changes, "rows")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for range changes { // the end of Run lets followers go
	}
}
