package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/failpoint"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
	"github.com/ctwarden/ctwarden/notify/hub/web"
)

// serveFlags override the configuration file.
type serveFlags struct {
	config   string
	embedded bool
	listen   string
	store    string
	maxBytes string
	page     string
	output   string
}

func newServeCommand(stdout, stderr io.Writer) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Makes one picture of the fleet's events, pages on-call, shows the page, and prints each event as one line",
		Long: `Reads the fleet's events from the servers in the configuration file, or from a NATS server inside this process, makes
incidents of the fleet of them, and tells on-call. Any number of hubs may serve one fleet: one of them leads, and another
takes its place within seconds where it dies. Each shows the whole fleet on its page.

The leading hub also prints each event once, as one line. The server inside has its streams in a folder and asks nobody who
they are, so it listens on this machine only unless it is told otherwise.

SIGHUP re-reads the configuration file: labels, grouping, routes, on-call, users and rollout. One with mistakes leaves the
running configuration in force, and is said.`,
		Example: "  ctwarden-hub serve --embedded --store /var/lib/ctwarden-hub/nats\n  ctwarden-hub serve --config hub.yaml -o json",
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			// Before anything else, since an unexpected SIGHUP ends the program. Capacity 1: a second one while one waits asks
			// for nothing new.
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			s, err := f.settings(cmd)
			if err != nil {
				return err
			}
			v := &service{
				settings: s, log: newLog(stderr), out: newPrinter(stdout, f.output == "json"), hup: hup,
				load: func() (settings, error) { return f.settings(cmd) }, askedForPage: cmd.Flags().Changed("page"),
			}
			return v.run(cmd.Context())
		}),
	}
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", "", "configuration `file` (default "+defaultConfigPath+", or the built-in defaults)")
	fl.BoolVar(&f.embedded, "embedded", false, "run a NATS server inside, whatever the file says of servers")
	fl.StringVar(&f.listen, "listen", "", "`host:port` of the server inside (default "+hub.DefaultListen+"; port 0: any)")
	fl.StringVar(&f.store, "store", "", "`folder` of the server inside (default: nats, below the state folder)")
	fl.StringVar(&f.maxBytes, "max-bytes", "", "`size` of the stream inside beyond which the oldest events go (default "+embeddedMaxBytes.String()+")")
	fl.StringVar(&f.page, "page", "", "`host:port` of the page, or off (default: the file's, or "+defaultPage+")")
	fl.StringVarP(&f.output, "output", "o", "text", "output format: text, json")
	return cmd
}

// settings are the file's with what the flags say.
func (f serveFlags) settings(cmd *cobra.Command) (settings, error) {
	if f.output != "text" && f.output != "json" {
		return settings{}, fmt.Errorf("%w: -o %s; one of text, json", errUsage, f.output)
	}
	s, err := loadSettings(f.config)
	if err != nil {
		return settings{}, err
	}
	if f.embedded {
		s.Embedded.Enabled, s.NATS = true, natsSettings{}
	}
	for _, name := range []string{"listen", "store", "max-bytes"} {
		if cmd.Flags().Changed(name) && !s.Embedded.Enabled {
			return settings{}, fmt.Errorf("%w: --%s is about the server inside; add --embedded", errUsage, name)
		}
	}
	if f.listen != "" {
		s.Embedded.Listen = f.listen
	}
	if f.store != "" {
		s.Embedded.Store = f.store
	}
	if f.maxBytes != "" {
		if s.Embedded.MaxBytes, err = config.ParseSize(f.maxBytes); err != nil || s.Embedded.MaxBytes < 1<<20 {
			return settings{}, fmt.Errorf("%w: --max-bytes %q; a size from 1MiB on, such as 1GiB", errUsage, f.maxBytes)
		}
	}
	switch {
	case f.page == "off":
		s.Listen = ""
	case f.page != "" && !isListen(f.page):
		return settings{}, fmt.Errorf("%w: --page %q; host:port, or off", errUsage, f.page)
	case f.page != "":
		s.Listen = f.page
	}
	if !s.Embedded.Enabled && len(s.NATS.Servers) == 0 {
		return settings{}, fmt.Errorf("%w: no servers: set nats.servers in the configuration file or use --embedded", errUsage)
	}
	return s, nil
}

// service is one run of serve.
type service struct {
	settings settings
	log      *zap.Logger
	out      *printer
	hup      <-chan os.Signal
	load     func() (settings, error)
	// askedForPage is true where the command line says where the page is to be.
	askedForPage bool
	// ready is true once the service manager was told so.
	ready atomic.Bool
}

// run serves until ctx is done. What it started it stops in the opposite order: the page, the hub, the connection, the
// server.
func (v *service) run(ctx context.Context) error {
	v.settings.logDoubts(v.log)
	dial := v.settings.dial()
	if v.settings.Embedded.Enabled {
		srv, err := hub.StartServer(hub.ServerOptions{Listen: v.settings.Embedded.Listen, Store: v.settings.store(), Log: v.log})
		if err != nil {
			return err
		}
		defer srv.Close()
		dial.Servers = []string{srv.URL()}
	}
	if err := dial.Check(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	link := &connection{log: v.log, why: &notify.Explainer{Dial: dial}}
	nc, err := v.connect(link, dial)
	if err != nil {
		return err
	}
	defer nc.Close()
	if v.settings.Embedded.Enabled {
		if err := setUpEmbedded(ctx, nc, v.settings, v.log); err != nil {
			if ctx.Err() != nil {
				return nil // ended before it began
			}
			return err
		}
	}
	h, err := hub.New(hub.Options{
		Conn: nc, Log: v.log, Name: hubName(), Version: versionString(), Settings: v.settings.hub(), Print: v.out.print, Printed: v.out.flush,
		Fail: failpoint.New(),
		Ready: func() {
			v.ready.Store(true)
			v.notify(daemon.SdNotifyReady + "\nSTATUS=")
			v.out.say("ctwarden-hub %s: ready at %s", versionString(), notify.Redact(nc.ConnectedUrl()))
		},
	})
	if err != nil {
		return err
	}
	link.follow(nc, h)
	h.Connected(nc.IsConnected()) // what happened before was told to nobody
	return v.serve(ctx, h)
}

// serve runs the hub, its page, and the reloads.
func (v *service) serve(ctx context.Context, h *hub.Hub) error {
	page, l, err := v.page(h)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.Run(ctx) })
	g.Go(func() error { return v.beat(ctx, h) })
	if page != nil {
		g.Go(func() error { return web.Serve(ctx, l, page) })
	}
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-v.hup:
				v.reload(h, page)
			}
		}
	})
	return g.Wait()
}

// page opens the page where one is wanted. An address that is in use is an error only where somebody chose it: a second hub
// on one machine, with the default, does without.
func (v *service) page(h *hub.Hub) (*web.Handler, net.Listener, error) {
	if v.settings.Listen == "" {
		return nil, nil, nil
	}
	page, err := web.New(h.Page(v.settings.access()))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	l, err := net.Listen("tcp", v.settings.Listen)
	if errors.Is(err, syscall.EADDRINUSE) && v.settings.Listen == defaultPage && !v.askedForPage {
		v.log.Warn("page_not_served", zap.Error(err), zap.String("remedy", "set listen in the configuration file, or use --page"))
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("serve the page: %w", err)
	}
	v.log.Info("page_served", zap.String("address", "http://"+l.Addr().String()))
	return page, l, nil
}

func setUpEmbedded(ctx context.Context, nc *nats.Conn, s settings, log *zap.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	changes, err := hub.Setup(ctx, nc, hub.SetupOptions{MaxBytes: int64(s.Embedded.MaxBytes), Replicas: 1})
	for _, c := range changes {
		log.Info("nats_set_up", zap.String("change", c))
	}
	return err
}

// notify tells the service manager, where there is one.
func (v *service) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		v.log.Warn("systemd_not_notified", zap.Error(err))
	}
}

// hubName is what the other hubs call this one.
func hubName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// printer writes events to the terminal or a file.
type printer struct {
	out  io.Writer
	json bool
	// lines are those of a batch, which go out at once: a write for each event is a good part of what a storm costs.
	lines *bufio.Writer
}

func newPrinter(out io.Writer, json bool) *printer {
	return &printer{out: out, json: json, lines: bufio.NewWriterSize(out, 64<<10)}
}

func (p *printer) print(r notify.Received, raw []byte) error {
	line := raw
	if !p.json {
		line = []byte(notify.Line(r))
	}
	// Where it fails, so does what is written next, and flush.
	_, _ = p.lines.Write(line)
	return p.lines.WriteByte('\n')
}

func (p *printer) flush() error { return p.lines.Flush() }

// say is for people; it stays out of JSON.
func (p *printer) say(format string, args ...any) {
	if !p.json {
		fmt.Fprintf(p.out, format+"\n", args...)
	}
}

// newLog writes to stderr, one JSON object a line.
func newLog(stderr io.Writer) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.RFC3339TimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(zapcore.AddSync(stderr)), zap.InfoLevel))
}
