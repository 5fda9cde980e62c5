package notify_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
)

// TestPromiseNoStampede has a fleet lose its server. When it comes back, each host waits for a time of its own.
func TestPromiseNoStampede(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	b.setup()
	const hosts = 40
	core, logged := observer.New(zapcore.InfoLevel)
	var fleet []*notify.Publisher
	for i := range hosts {
		s := newStore(t)
		p, err := notify.NewPublisher(notify.PublisherOptions{
			Dial:     notify.Dial{Servers: []string{b.url()}},
			Identity: notify.Identity{Host: fmt.Sprint("hv", i), Site: "gva", Version: "test"},
			Queue:    s, Log: zap.New(core),
		})
		if err != nil {
			t.Fatal(err)
		}
		fleet = append(fleet, p)
		start(t, p)
	}
	all := func(connected bool) func() bool {
		return func() bool {
			for _, p := range fleet {
				if p.Status().Connected != connected {
					return false
				}
			}
			return true
		}
	}
	testhost.Eventually(t, "all are connected", all(true))
	b.stop()
	testhost.Eventually(t, "none is connected", all(false))
	logged.TakeAll()
	b.start()
	testhost.Eventually(t, "all are connected again", all(true))
	testhost.Eventually(t, "the log says so for all", func() bool { return logged.FilterMessage("nats_connected").Len() >= hosts })

	var longest time.Duration
	seconds := map[int]int{} // how many hosts begin in which second
	for _, entry := range logged.FilterMessage("nats_connected").All() {
		wait := entry.ContextMap()["drain_in"].(time.Duration)
		longest = max(longest, wait)
		seconds[int(wait/time.Second)]++
	}
	if longest >= 5*time.Second {
		t.Errorf("one waits for %v, want less than 5 s", longest)
	}
	if len(seconds) < 3 {
		t.Errorf("they begin in the same seconds: %v", seconds)
	}
	testhost.Held(t, "4.3 begins within 5 s, not all at once", "%d hosts begin to send from 0 to %.1f s after a reconnect, by the second %v",
		hosts, longest.Seconds(), seconds)
}

// TestPromiseWindow counts what is sent to a server that acknowledges nothing. Every attempt begins with the oldest event.
func TestPromiseWindow(t *testing.T) {
	b := newLab(t, func(o *server.Options) { o.JetStream = false })
	b.start()
	nc, _ := b.connect()
	var mu sync.Mutex
	var attempts []int // how many events each brought
	if _, err := nc.Subscribe(notify.SubjectPrefix+".>", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if m.Header.Get(nats.MsgIdHdr) == "ev-00000" {
			attempts = append(attempts, 0)
		}
		if len(attempts) > 0 {
			attempts[len(attempts)-1]++
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	const waiting = 2000
	add(t, s, 0, waiting)
	p, _ := publish(t, s, nil, b.url())
	seen := func() []int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(attempts)
	}
	whole := testhost.Amount(1, 4)
	testhost.Eventually(t, "the next attempt begins", func() bool { return len(seen()) > whole })
	got := seen()[:whole]
	for i, most := 0, 256; i < whole; i, most = i+1, max(most/2, 8) {
		if got[i] > most {
			t.Errorf("the attempts bring %v events, want at most 256, then half as many each time", got)
		}
	}
	if st := p.Status(); st.Problem != notify.ProblemNoAnswer || s.Len() != waiting {
		t.Errorf("%+v; %d are left of %d", st, s.Len(), waiting)
	}
	testhost.Held(t, "4.4 few events on their way", "%d waiting, none acknowledged: sent at each attempt %v",
		waiting, got)
}
