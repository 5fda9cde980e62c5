package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestEvents follows a real server: what was there within --since, then what comes, filtered.
func TestEvents(t *testing.T) {
	nc, url := natsServer(t)
	publish(t, nc, "web1", "a-step", remediate.EventStepApplied, remediate.Step{From: 65536, To: 131072})
	publish(t, nc, "web1", "not-a-step", remediate.EventLimitChanged, remediate.LimitChange{Old: 1, New: 2})
	publish(t, nc, "web2", "of-another-host", remediate.EventStepApplied, remediate.Step{})

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	lines, wait := follow(ctx, t, "events", "--server", url, "--host", "web1", "--type", "step", "--since", "1h")
	var got struct{ ID string }
	if err := json.Unmarshal([]byte(<-lines), &got); err != nil || got.ID != "a-step" {
		t.Errorf("got %+v, %v", got, err)
	}
	publish(t, nc, "web1", "a-later-step", remediate.EventStepConfirmed, remediate.Step{From: 65536, To: 131072})
	if line := <-lines; !strings.Contains(line, `"a-later-step"`) {
		t.Errorf("got %s", line)
	}
	stop()
	if code := wait(); code != exitDone {
		t.Errorf("interrupted: exit code %d", code)
	}

	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	lines, wait = follow(ctx, t, "events", "--server", url, "--since", "1h", "-o", "text", "--host", "web1")
	if line := <-lines; !strings.Contains(line, "web1") || !strings.Contains(line, "65536") || strings.HasPrefix(line, "{") {
		t.Errorf("text: %s", line)
	}
	stop()
	wait()
}

func natsServer(t *testing.T) (*nats.Conn, string) {
	t.Helper()
	srv, err := hub.StartServer(hub.ServerOptions{Listen: "127.0.0.1:0", Store: t.TempDir(), Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	nc, err := notify.Dial{Servers: []string{srv.URL()}, Name: "test"}.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := hub.Setup(t.Context(), nc, hub.SetupOptions{MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	return nc, srv.URL()
}

func publish(t *testing.T, nc *nats.Conn, host, id string, typ remediate.EventType, data any) {
	t.Helper()
	out, err := notify.Encode(notify.Identity{Site: "lab", Host: host},
		remediate.Event{ID: id, Type: typ, Time: time.Now(), Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request(out.Subject, out.Body, 5*time.Second); err != nil {
		t.Fatal(err)
	}
}

// follow runs a command line in the background. lines has no room: the command waits for the test; wait ends it.
func follow(ctx context.Context, t *testing.T, args ...string) (lines <-chan string, wait func() int) {
	t.Helper()
	in, out := io.Pipe()
	ch := make(chan string) // closed when the command has ended
	code := make(chan int, 1)
	go func() {
		var errs strings.Builder
		c := run(ctx, args, stdio{in: strings.NewReader(""), out: out, err: &errs})
		if c != 0 {
			t.Errorf("%q: exit code %d: %s", args, c, errs.String())
		}
		out.Close()
		code <- c
	}()
	go func() {
		defer close(ch)
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case ch <- s.Text():
			case <-ctx.Done():
			}
		}
	}()
	return ch, func() int { return <-code }
}
