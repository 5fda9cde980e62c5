package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/exposition"
)

// MetricsConfig says where the metrics are served and where they come from.
type MetricsConfig struct {
	// Listen is host:port, where port 0 takes a free one, or unix:/path.
	Listen string
	// Group may read besides root and the agent's own user. Empty: no group.
	Group string
	// Users may also read over TCP, by name or number; "*" is every user of this host. A unix socket leaves them out.
	Users []string
	// Status is the agent's state; it is called from several goroutines and returns when ctx ends at the latest.
	Status func(ctx context.Context) (Status, error)
	// Ready is closed once every source is positioned. Until then /metrics is 503. A nil channel is never ready.
	Ready <-chan struct{}
	Log   *zap.Logger
}

// Metrics serves /metrics, for Prometheus, and /healthz, which is 200 while the loop answers.
type Metrics struct {
	cfg      MetricsConfig
	listener net.Listener
	access   metricsAccess
}

// ListenMetrics opens the listener, so that an address that is taken is an error at the start.
func ListenMetrics(cfg MetricsConfig) (*Metrics, error) {
	who, err := newMetricsAccess(cfg)
	if err != nil {
		return nil, err
	}
	l, err := listenMetrics(cfg)
	if err != nil {
		return nil, err
	}
	return &Metrics{cfg: cfg, listener: l, access: who}, nil
}

// Addr is the address that is listened on.
func (m *Metrics) Addr() net.Addr {
	if path, ok := MetricsSocket(m.cfg.Listen); ok {
		return &net.UnixAddr{Name: path, Net: "unix"} // the listener knows the name that it had before
	}
	return m.listener.Addr()
}

// Run serves until ctx is done; it returns nil then.
func (m *Metrics) Run(ctx context.Context) error {
	srv := m.server()
	g, ctx := errgroup.WithContext(ctx)
	group := &membership{look: func(uid uint32) bool { return memberOf(uid, m.access.gid) }, known: map[uint32]member{}}
	g.Go(func() error {
		if err := srv.Serve(gated(ctx, m.listener, m.access.likely(group))); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve metrics on %s: %w", m.cfg.Listen, err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		defer m.removeSocket()
		return srv.Close() // a scrape that is cut off is tried again
	})
	return g.Wait()
}

// keptIdle is how long a connection is kept between two scrapes. It is longer than a scraper's usual interval of a minute:
// a new connection is what a full table refuses, just when the metrics are wanted.
const keptIdle = 5 * time.Minute

func (m *Metrics) server() *http.Server {
	return &http.Server{
		Handler: m.guard(m.handler()), ConnContext: withPeer, ErrorLog: zap.NewStdLog(m.cfg.Log), ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout: 5 * time.Second, WriteTimeout: 15 * time.Second, IdleTimeout: keptIdle, MaxHeaderBytes: 16 << 10,
	}
}

func (m *Metrics) handler() http.Handler {
	mux := http.NewServeMux()
	metrics := m.scrapes()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-m.cfg.Ready:
			metrics.ServeHTTP(w, r)
		default:
			http.Error(w, "not ready: not every source is positioned yet", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), statusWithin)
		defer cancel()
		if _, err := m.cfg.Status(ctx); err != nil {
			http.Error(w, "the agent does not answer: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	return mux
}

// maxScrapes is how many scrapes are answered at once.
const maxScrapes = 4

// scrapes answers with the metrics as they are at that moment.
func (m *Metrics) scrapes() http.Handler {
	metrics := newCollector(m.cfg.Status)
	places := make(chan struct{}, maxScrapes) // one element for each scrape under way; one that finds it full is refused
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			http.Error(w, fmt.Sprintf("%d scrapes are under way, try again later", maxScrapes), http.StatusServiceUnavailable)
			return
		}
		text, err := metrics.collect(r.Context())
		if err != nil {
			if r.Context().Err() == nil { // nobody is told that a scraper has gone
				m.cfg.Log.Warn("scrape failed", zap.Error(err))
			}
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", exposition.ContentType)
		_, _ = io.WriteString(w, text) // a scraper that has gone gets nothing
	})
}
