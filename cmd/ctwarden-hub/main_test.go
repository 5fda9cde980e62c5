package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ctwarden-hub": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			plain, err := startNATS(env, &server.Options{})
			if err != nil {
				return err
			}
			guarded, err := startNATS(env, &server.Options{
				JetStream: true, StoreDir: filepath.Join(env.WorkDir, "guarded"),
				Users: []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
					Publish: &server.SubjectPermission{Allow: []string{"x"}},
				}}},
			})
			if err != nil {
				return err
			}
			free, err := freePort()
			if err != nil {
				return err
			}
			env.Setenv("PLAIN", plain)
			env.Setenv("GUARDED", strings.Replace(guarded, "//", "//u:p@", 1))
			env.Setenv("GUARDED_BARE", guarded)
			env.Setenv("FREE", free)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode": exitCode, "waitfor": waitFor, "event": event, "replace": replace, "readers": readers,
			"hubs":   hubs,
			"stored": stored,
		},
	})
}

// startNATS starts a server as an operator would have one.
func startNATS(env *testscript.Env, o *server.Options) (string, error) {
	o.Host, o.Port, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	ns, err := server.NewServer(o)
	if err != nil {
		return "", err
	}
	ns.Start()
	env.Defer(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(10 * time.Second) {
		return "", fmt.Errorf("the NATS server is not ready")
	}
	return ns.ClientURL(), nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// exitCode runs a command and checks its exit code: exitcode N command args...
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N command args...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// waitFor waits until a server takes connections: waitfor host:port
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		nc, err := nats.Connect("nats://" + args[0])
		if err == nil {
			defer nc.Close()
			js, err := jetstream.New(nc)
			ts.Check(err)
			if _, err := js.Consumer(context.Background(), notify.StreamName, "hub"); err == nil {
				return
			}
		}
		if time.Now().After(end) {
			ts.Fatalf("nothing listens at %s: %v", args[0], err)
		}
	}
}

// event publishes an event and, unless told not to, waits until the hub has acknowledged it and all before: event host:port id
// [nowait]
func event(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	nc, err := nats.Connect("nats://" + args[0])
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	ev, err := notify.Encode(notify.Identity{Host: "hv1", Site: "gva"}, remediate.Event{
		ID: args[1], Type: remediate.EventStepApplied, Time: time.Unix(1, 0), Data: remediate.Step{
			From: 262144, To: 524288, Reason: remediate.ReasonFull, TookUS: 38,
			Keys: map[string]uint64{"a": 524288, "b": 524288},
		},
	})
	ts.Check(err)
	stored, err := js.Publish(ctx, ev.Subject, ev.Body, jetstream.WithMsgID(ev.ID))
	ts.Check(err)
	if len(args) > 2 {
		return
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := js.Consumer(ctx, notify.StreamName, "hub")
		ts.Check(err)
		// Not by what is pending: the server counts that a moment after it has stored the event.
		if c.CachedInfo().AckFloor.Stream >= stored.Sequence {
			return
		}
		<-tick.C
	}
}

// readers waits until so many hubs ask for events: readers host:port N
func readers(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect("nats://" + args[0])
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		c, err := js.Consumer(context.Background(), notify.StreamName, "hub")
		ts.Check(err)
		if fmt.Sprint(c.CachedInfo().NumWaiting) == args[1] {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%d hubs read, want %s", c.CachedInfo().NumWaiting, args[1])
		}
	}
}

// hubs waits until so many hubs follow the hosts' states, whether they lead or not: hubs host:port N
func hubs(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect("nats://" + args[0])
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		s, err := js.Stream(context.Background(), "KV_"+notify.HostsBucket)
		ts.Check(err)
		n := s.CachedInfo().State.Consumers
		if fmt.Sprint(n) == args[1] {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%d hubs follow, want %s", n, args[1])
		}
	}
}

// stored checks the number of events in the stream: stored host:port N
func stored(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect("nats://" + args[0])
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	s, err := js.Stream(context.Background(), notify.StreamName)
	ts.Check(err)
	if got := fmt.Sprint(s.CachedInfo().State.Msgs); got != args[1] {
		ts.Fatalf("%s events are stored, want %s", got, args[1])
	}
}

// replace expands the environment in a file: replace FILE
func replace(ts *testscript.TestScript, _ bool, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

func TestDefaultsAreValid(t *testing.T) {
	s := defaults()
	if _, err := config.Decode("empty", nil, &s); err != nil {
		t.Error(err)
	}
	if s.store() != "/var/lib/ctwarden-hub/nats" {
		t.Errorf("store %s", s.store())
	}
}
