package oncall

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestThrough takes each sender over HTTP through its queue to a server that is too busy, then away, then gone, and then
// well again: the page arrives once it is, in as many attempts, and what came after it arrives after it.
func TestThrough(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			asked := 0
			var again time.Time
			early := false
			r := receive(t, plain, func(w http.ResponseWriter, req *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				asked++
				switch {
				case asked == 1:
					w.Header().Set("Retry-After", "2")
					w.WriteHeader(http.StatusTooManyRequests)
					again = time.Now().Add(2 * time.Second)
				case asked == 2:
					early = time.Now().Before(again)
					w.WriteHeader(http.StatusServiceUnavailable)
				case asked == 3:
					panic(http.ErrAbortHandler)
				default:
					k.good(w, req)
				}
			})
			c := k.config(t, r.URL, TLSConfig{})
			c.Name = "through"
			q, err := Open(c, Options{}, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			outcomes := make(chan Outcome, 2) // has room for both
			first, second := manyHosts(), manyHosts().Resolved("page-9", after(time.Hour))
			first.Action = ActionTrigger
			for _, n := range []Notification{first, second} {
				if err := q.Submit(n, func(o Outcome) { outcomes <- o }); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1) // has room for the one result
			go func() { ended <- q.Run(ctx) }()
			for _, want := range []string{"page-2 delivered 4", "page-9 delivered 1"} {
				select {
				case o := <-outcomes:
					if got := fmt.Sprint(o.ID, " ", o.Result, " ", o.Attempts); got != want {
						t.Errorf("got %s (%s), want %s", got, o.Err, want)
					}
				case <-time.After(time.Minute):
					t.Fatalf("no outcome: %+v", q.Status())
				}
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if early {
				t.Error("asked again before the time that the server named")
			}
			if s := q.Status(); s.Retries != 3 || s.Delivered != 2 || s.Waiting != 0 || s.Problem != "" {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// TestThroughADeadPort: the server is not there yet.
func TestThroughADeadPort(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", testhost.Port(t))
	q, err := Open(Config{Name: "w", Webhook: &WebhookConfig{URL: "http://" + address, Secret: secretIn(t, testSecret)}}, Options{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	outcomes := make(chan Outcome, 1) // has room for the one
	if err := q.Submit(oneHost(), func(o Outcome) { outcomes <- o }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // has room for the one result
	go func() { ended <- q.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	testhost.Eventually(t, "a failure", func() bool { return q.Status().Retries > 0 })
	heard := make(chan string, 16) // has room for more than are sent
	server := &http.Server{Addr: address, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.Header.Get("webhook-id") })}
	go func() { _ = server.ListenAndServe() }()
	defer server.Close()
	select {
	case o := <-outcomes:
		if o.Result != ResultDelivered || o.Attempts < 2 || o.ID != "ev-1" {
			t.Errorf("outcome %+v", o)
		}
	case <-time.After(time.Minute):
		t.Fatalf("no outcome: %+v", q.Status())
	}
	if id := <-heard; id != "ev-1" {
		t.Errorf("heard of %s", id)
	}
}

// TestUnused: a server that nobody sends to is asked nothing, whatever sender is made for it.
func TestUnused(t *testing.T) {
	r := receive(t, plain, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for _, k := range kinds() {
		c := k.config(t, r.URL, TLSConfig{})
		c.Name = "unused"
		if _, err := Open(c, Options{}, zap.NewNop()); err != nil {
			t.Errorf("%s: %v", k.name, err)
		}
	}
	if got := len(r.requests()); got != 0 {
		t.Errorf("%d requests", got)
	}
}
