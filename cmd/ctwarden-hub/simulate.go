package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/simulate"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
)

// simulateFlags are what a simulation is asked for.
type simulateFlags struct {
	simulate.Options
	dial     notify.Dial
	embedded bool
	listen   string
	output   string
}

func newSimulateCommand(stdout, stderr io.Writer) *cobra.Command {
	f := simulateFlags{dial: notify.Dial{Name: "ctwarden-hub simulate"}}
	cmd := &cobra.Command{
		Use:   "simulate --hosts N {--server URL | --embedded}",
		Short: "Plays a fleet whose tables fill up, to size a hub and its NATS servers",
		Long: `Plays a fleet of N hosts in this process: each says hello, its table fills up within the time given, refuses connections,
is raised, becomes quiet, the incident closes, and the host says goodbye. The events are made by the agent's own code from
readings that are made up, and sent as an agent sends them, with their id; the hosts' states go to the fleet's bucket about
once a minute and at changes. The kernel is neither read nor changed.

The hosts share a few connections (they are multiplexed), unless as many --connections are asked for as there are hosts: then
each has a real one of its own, which takes some 100 KB of memory and a file descriptor each, here and at the server.

The hub of that server takes the fleet for a real one: it PAGES ON-CALL. Use servers and a hub of a test. Hosts are called
sim000000.example and so on, sites sim-00 and so on. --embedded starts a NATS server in this process, whose address is printed,
for a hub to be pointed at; its streams are gone afterwards.

Printed once a second and at the end: events that happened (published), that the stream has (acknowledged), and that it has
not; how many a second; and when, in seconds after the first table filled up. Ctrl-C has the hosts say goodbye at once.
Exit code 3 where an event was not acknowledged in the end.`,
		Example: "  ctwarden-hub simulate --hosts 10000 --sites 20 --server nats://127.0.0.1:4222\n" +
			"  ctwarden-hub simulate --hosts 100000 --sites 50 --within 0s --for 10m --embedded --listen 127.0.0.1:4222 -o json",
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), stdout, stderr) }),
	}
	fl := cmd.Flags()
	fl.IntVar(&f.Hosts, "hosts", 0, "`number` of hosts")
	fl.IntVar(&f.Sites, "sites", 1, "`number` of sites, over which the hosts are shared out")
	fl.IntVar(&f.Connections, "connections", 8, "`number` of connections that the hosts share; at most one each")
	fl.DurationVar(&f.Within, "within", 10*time.Second, "time within which all tables fill up; 0s: all at once")
	fl.DurationVar(&f.Lasts, "for", 20*time.Second, "how long a table must be quiet until its incident closes, as incident.close_after of an agent")
	fl.IntVar(&f.Rate, "rate", 0, "`number` of events a second that the fleet sends at most; 0: as they happen")
	fl.StringSliceVar(&f.dial.Servers, "server", nil, "NATS server `URL`; may be given more than once")
	fl.StringVar(&f.dial.Credentials, "credentials", "", "credentials `file` of a user that may publish every host's events and state")
	fl.StringVar(&f.dial.TLS.CA, "ca", "", "`file` with the authority of the server's certificate")
	fl.BoolVar(&f.embedded, "embedded", false, "start a NATS server inside instead")
	fl.StringVar(&f.listen, "listen", "127.0.0.1:0", "`host:port` of the server inside; port 0: any")
	fl.StringVarP(&f.output, "output", "o", "text", "output format: text, json (one report a line)")
	return cmd
}

func (f *simulateFlags) run(ctx context.Context, stdout, stderr io.Writer) error {
	if f.output != "text" && f.output != "json" {
		return fmt.Errorf("%w: -o %s; one of text, json", errUsage, f.output)
	}
	if f.Hosts == 0 {
		return fmt.Errorf("%w: how many hosts? give --hosts N", errUsage)
	}
	if f.Connections > f.Hosts && f.Hosts > 0 {
		f.Connections = f.Hosts
	}
	if err := f.Check(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.embedded == (len(f.dial.Servers) > 0) {
		return fmt.Errorf("%w: which server? give either --server URL or --embedded", errUsage)
	}
	out := reports{out: stdout, json: f.output == "json"}
	if f.embedded {
		stop, err := f.serve(ctx, newLog(stderr))
		if err != nil {
			return err
		}
		defer stop()
		out.say("NATS server: %s", f.dial.Servers[0])
	}
	if err := absolute(&f.dial.Credentials, &f.dial.TLS.CA); err != nil {
		return err
	}
	if err := f.dial.Check(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	// What the server refuses will not get better: it ends the simulation.
	ctx, deny := context.WithCancelCause(ctx)
	defer deny(nil)
	f.Version, f.Progress = versionString(), out.print
	f.Connect = func() (*nats.Conn, error) {
		return f.dial.Connect(nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if denial := notify.Denied(err); denial != nil {
				deny(denial)
			}
		}))
	}
	_, err := simulate.Run(ctx, f.Options)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// serve starts a server inside, with all that init makes, and has the simulation use it.
func (f *simulateFlags) serve(ctx context.Context, log *zap.Logger) (stop func(), err error) {
	dir, err := os.MkdirTemp("", "ctwarden-simulate-")
	if err != nil {
		return nil, err
	}
	srv, err := hub.StartServer(hub.ServerOptions{Listen: f.listen, Store: dir, Log: log})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop = func() {
		srv.Close()
		if err := os.RemoveAll(dir); err != nil {
			log.Warn("store_not_removed", zap.Error(err))
		}
	}
	f.dial.Servers = []string{srv.URL()}
	nc, err := f.dial.Connect()
	if err != nil {
		stop()
		return nil, err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	if _, err := hub.Setup(ctx, nc, hub.SetupOptions{MaxBytes: int64(embeddedMaxBytes), Replicas: 1}); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}
