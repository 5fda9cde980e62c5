package main

import (
	"context"
	"fmt"
	"io"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
)

// serveFlags override the configuration file.
type serveFlags struct {
	config   string
	embedded bool
	listen   string
	store    string
	maxBytes string
	output   string
}

func newServeCommand(stdout, stderr io.Writer) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Reads the fleet's events and prints each as one line",
		Long: `Reads the fleet's events from the servers in the configuration file, or from a NATS server inside this process, and
prints each once, as one line. The server inside has its streams in a folder and asks nobody who they are, so it
listens on this machine only unless it is told otherwise.`,
		Example: "  ctwarden-hub serve --embedded --store /var/lib/ctwarden-hub/nats\n  ctwarden-hub serve --config hub.yaml -o json",
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			s, err := f.settings(cmd)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), stdout, s, f.output == "json", newLog(stderr))
		}),
	}
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", "", "configuration `file` (default "+defaultConfigPath+", or the built-in defaults)")
	fl.BoolVar(&f.embedded, "embedded", false, "run a NATS server inside, whatever the file says of servers")
	fl.StringVar(&f.listen, "listen", "", "`host:port` of the server inside (default "+hub.DefaultListen+"; port 0: any)")
	fl.StringVar(&f.store, "store", "", "`folder` of the server inside (default: nats, below the state folder)")
	fl.StringVar(&f.maxBytes, "max-bytes", "", "`size` of the stream inside beyond which the oldest events go (default "+embeddedMaxBytes.String()+")")
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
	if !s.Embedded.Enabled && len(s.NATS.Servers) == 0 {
		return settings{}, fmt.Errorf("%w: no servers: set nats.servers in the configuration file or use --embedded", errUsage)
	}
	return s, nil
}

// serve runs until ctx is done. What it started it stops in the opposite order: reading, the connection, the server.
func serve(ctx context.Context, stdout io.Writer, s settings, asJSON bool, log *zap.Logger) error {
	dial := s.dial()
	if s.Embedded.Enabled {
		srv, err := hub.StartServer(hub.ServerOptions{Listen: s.Embedded.Listen, Store: s.store(), Log: log})
		if err != nil {
			return err
		}
		defer srv.Close()
		dial.Servers = []string{srv.URL()}
	}
	if err := dial.Check(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	nc, err := dial.Connect(connectionLog(log)...)
	if err != nil {
		return err
	}
	defer nc.Close()
	if s.Embedded.Enabled {
		if err := setUpEmbedded(ctx, nc, s, log); err != nil {
			return err
		}
	}
	p := &printer{out: stdout, json: asJSON}
	r := hub.Receiver{Conn: nc, Log: log, Handle: p.print, Ready: func() {
		p.say("ctwarden-hub %s: ready at %s", versionString(), notify.Redact(nc.ConnectedUrl()))
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			log.Warn("systemd_not_notified", zap.Error(err))
		}
	}}
	return r.Run(ctx)
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

// connectionLog tells when the servers go away and come back.
func connectionLog(log *zap.Logger) []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if err != nil {
				log.Warn("nats_disconnected", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("nats_connected", zap.String("server", notify.Redact(nc.ConnectedUrl())))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if denial := notify.Denied(err); denial != nil {
				err = denial
			}
			log.Warn("nats_error", zap.Error(err))
		}),
	}
}

// printer writes events to the terminal or a file.
type printer struct {
	out  io.Writer
	json bool
}

func (p *printer) print(r notify.Received, raw []byte) error {
	line := raw
	if !p.json {
		line = []byte(notify.Line(r))
	}
	if _, err := p.out.Write(append(append([]byte(nil), line...), '\n')); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

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
