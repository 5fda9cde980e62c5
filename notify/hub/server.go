package hub

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

// DefaultListen is where the embedded server listens: this machine only, NATS's own port.
const DefaultListen = "127.0.0.1:4222"

const (
	serverReady = 10 * time.Second
	// syncEvery is how often the embedded store is synced to the disk, which bounds what a power failure can cost. A
	// killed process costs nothing: what was acknowledged is with the kernel.
	syncEvery = 5 * time.Second
)

// ErrServer says that the embedded server could not be started: the address is taken, the store cannot be written.
var ErrServer = errors.New("embedded NATS server")

// ServerOptions say how to run the embedded server.
type ServerOptions struct {
	// Listen is host:port; port 0 takes a free one. Empty: DefaultListen. The server asks nobody who they are, so
	// anything but loopback opens the events to the network.
	Listen string
	// Store is the folder of the streams, created with mode 0700.
	Store string
	Log   *zap.Logger
}

// Server is a NATS server with JetStream inside this process.
type Server struct {
	ns *server.Server
	// cut is closed by Close.
	cut sync.Once
}

// StartServer starts the server and returns when it accepts connections. Its error wraps [ErrServer].
func StartServer(o ServerOptions) (*Server, error) {
	host, port, err := splitListen(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	if err := prepareStore(o.Store); err != nil {
		return nil, fmt.Errorf("%w: store: %w", ErrServer, err)
	}
	ns, err := server.NewServer(&server.Options{
		ServerName: "ctwarden-hub", Host: host, Port: port, NoSigs: true,
		JetStream: true, StoreDir: o.Store, SyncInterval: syncEvery, DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	logs := &serverLog{log: o.Log.Named("nats")}
	ns.SetLoggerV2(logs, false, false, false)
	ns.Start()
	if !logs.failed() && ns.ReadyForConnections(serverReady) {
		return &Server{ns: ns}, nil
	}
	ns.Shutdown()
	ns.WaitForShutdown()
	return nil, fmt.Errorf("%w at %s with store %s: %w", ErrServer, net.JoinHostPort(host, strconv.Itoa(port)), o.Store, logs.reason())
}

func splitListen(listen string) (host string, port int, err error) {
	if listen == "" {
		listen = DefaultListen
	}
	host, p, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("listen: %w; write host:port", err)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("listen: %q is not host:port; to listen on every address write 0.0.0.0:port", listen)
	}
	if n == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(n), nil
}

// prepareStore creates the folder and makes sure that it can be written, since the server's own message would not
// name the reason.
func prepareStore(dir string) error {
	if dir == "" {
		return errors.New("no folder given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(filepath.Clean(f.Name()))
}

// URL is where clients connect.
func (s *Server) URL() string { return s.ns.ClientURL() }

// Close stops the server and returns when its store is written. It may be called more than once.
func (s *Server) Close() {
	s.cut.Do(func() {
		s.ns.Shutdown()
		s.ns.WaitForShutdown()
	})
}

// serverLog hands the server's log to zap. The server calls Fatalf where it cannot start, and expects not to return;
// it does return here, and what it said is kept.
type serverLog struct {
	log *zap.Logger

	mu    sync.Mutex
	fatal string
}

func (l *serverLog) failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal != ""
}

func (l *serverLog) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		return fmt.Errorf("not ready within %s", serverReady)
	}
	if strings.Contains(l.fatal, "address already in use") {
		return errors.New("the address is in use; stop what listens there or choose another with --listen")
	}
	return errors.New(l.fatal)
}

// Fatalf keeps the first message.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		l.fatal = fmt.Sprintf(format, v...)
	}
}

// Noticef is what an operator of the server would read; to the hub's operator it is detail.
func (l *serverLog) Noticef(format string, v ...any) { l.say(l.log.Debug, format, v) }

// Warnf logs a warning.
func (l *serverLog) Warnf(format string, v ...any) { l.say(l.log.Warn, format, v) }

// Errorf logs an error.
func (l *serverLog) Errorf(format string, v ...any) { l.say(l.log.Error, format, v) }

// Debugf is off (StartServer).
func (l *serverLog) Debugf(format string, v ...any) { l.say(l.log.Debug, format, v) }

// Tracef is off (StartServer).
func (l *serverLog) Tracef(format string, v ...any) { l.say(l.log.Debug, format, v) }

func (l *serverLog) say(write func(string, ...zap.Field), format string, v []any) {
	write("nats_server", zap.String("text", fmt.Sprintf(format, v...)))
}
