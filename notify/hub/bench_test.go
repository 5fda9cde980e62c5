package hub

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
)

// BenchmarkStorm has a hub take in a storm that waits in the stream: b.N events of 10,000 hosts at 20 sites, folded, saved
// and acknowledged, beside the server in the same process. events/s is the figure.
func BenchmarkStorm(b *testing.B) {
	srv, err := StartServer(ServerOptions{Listen: "127.0.0.1:0", Store: b.TempDir(), Log: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Close()
	nc, err := nats.Connect(srv.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	if _, err := Setup(b.Context(), nc, SetupOptions{MaxBytes: 4 << 30}); err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		b.Fatal(err)
	}
	for from := 0; from < b.N; from += 1024 {
		var events []notify.Outgoing
		for i := from; i < min(b.N, from+1024); i++ {
			host := i % 10_000
			events = append(events, began(fmt.Sprint("site", host%20), fmt.Sprint("host", host), i/10_000))
		}
		if err := publishSome(js, events); err != nil {
			b.Fatal(err)
		}
	}
	hnc, err := nats.Connect(srv.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer hnc.Close()
	h, err := New(Options{Conn: hnc, Log: zap.NewNop(), Name: "bench", Settings: Settings{Fleet: fleet.Config{GroupBy: []string{"site"}}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	began, before := time.Now(), spent(b)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- h.Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		<-tick.C
		done, err := allAcknowledged(b.Context(), js)
		if err != nil {
			b.Fatal(err)
		}
		if done {
			break
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "events/s")
	b.ReportMetric(float64((spent(b)-before).Microseconds())/float64(b.N), "cpu-µs/event")
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// spent is the CPU time of this process, the server's part included.
func spent(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkReadHostState(b *testing.B) {
	body := stateOf("gva", "hv1.example", 1000, &notify.FleetState{Rev: 3})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readHostState("gva.hv1_2eexample", body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	ev := began("gva", "hv1.example", 1)
	b.SetBytes(int64(len(ev.Body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := notify.Decode(ev.Body); err != nil {
			b.Fatal(err)
		}
	}
}
