package web

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// How often the hub is asked for what changed. A reader is told at most every tellEvery, and of a change that comes after
// a pause within askEvery; of the hub's own status within statusEvery.
const (
	askEvery    = 20 * time.Millisecond
	tellEvery   = 200 * time.Millisecond
	statusEvery = time.Second
)

// Config is what a Handler shows and whom it lets act.
type Config struct {
	Fleet     Fleet
	Incidents Incidents
	Hub       Hub
	Doer      Doer
	Access    Access
	Log       *zap.Logger
}

// Handler answers all requests. Make it with New, and let Run follow the hub beside it.
type Handler struct {
	cfg      Config
	mux      *http.ServeMux
	files    map[string]*asset
	board    *board
	list     incidentCache
	snapshot snapshot
	news     broadcast
	gate     atomic.Pointer[gate]
	sessions *sessions
	attempts *attempts
	readers  atomic.Int64 // of /api/v1/changes
	// followed is closed when Run ends, so that those who follow the changes are let go.
	followed chan struct{}

	refreshing sync.Mutex
	told       time.Time // when readers were last told of something
	incidents  uint64    // the revision that they know
	asked      time.Time // when the hub's status was last asked for
	brief      atomic.Pointer[brief]
}

// New makes a Handler. Mistakes in cfg.Access are errors that name the key.
func New(cfg Config) (*Handler, error) {
	files, err := loadAssets()
	if err != nil {
		return nil, err
	}
	h := &Handler{
		cfg: cfg, files: files, board: newBoard(), news: newBroadcast(), sessions: newSessions(), attempts: newAttempts(),
		followed: make(chan struct{}),
	}
	if err := h.Configure(cfg.Access); err != nil {
		return nil, err
	}
	b := briefOf(cfg.Hub.Status())
	h.brief.Store(&b)
	h.mux = h.routes()
	return h, nil
}

// Configure takes another Access, as after a reload. Sessions of users who are not the same any more end. With an error
// nothing is changed.
func (h *Handler) Configure(a Access) error {
	g, err := newGate(a)
	if err != nil {
		return err
	}
	h.gate.Store(g)
	return nil
}

// Run keeps the board up to date until ctx is done, then lets the followers of changes go and returns nil. It must be
// called once.
func (h *Handler) Run(ctx context.Context) error {
	defer close(h.followed)
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			h.follow(time.Now())
		}
	}
}

// follow tells the readers of what changed, not more often than is promised.
func (h *Handler) follow(now time.Time) {
	h.refreshing.Lock()
	defer h.refreshing.Unlock()
	if now.Sub(h.told) < tellEvery {
		return
	}
	changed := h.board.refresh(h.cfg.Fleet)
	if now.Sub(h.asked) >= statusEvery {
		h.asked = now
		if b := briefOf(h.cfg.Hub.Status()); b != *h.brief.Load() {
			h.brief.Store(&b)
			changed = true
		}
	}
	if revision := h.cfg.Incidents.Revision(); revision != h.incidents {
		h.incidents, changed = revision, true
	}
	if changed {
		h.told = now
		h.news.tell()
	}
}

// refresh is for a reader that comes before the first look at the fleet.
func (h *Handler) refresh() {
	h.refreshing.Lock()
	defer h.refreshing.Unlock()
	if h.board.current() == 0 {
		h.board.refresh(h.cfg.Fleet)
	}
}

// route is a line of the API, as openapi.yaml describes it.
type route struct {
	method, path string
	serve        http.HandlerFunc
}

func (h *Handler) api() []route {
	return []route{
		{"GET", "/api/v1/fleet", h.getFleet},
		{"GET", "/api/v1/changes", h.getChanges},
		{"GET", "/api/v1/hosts", h.getHosts},
		{"GET", "/api/v1/hosts/{site}/{host}", h.getHost},
		{"GET", "/api/v1/incidents", h.getIncidents},
		{"GET", "/api/v1/incidents/{id}", h.getIncident},
		{"POST", "/api/v1/incidents/{id}/acknowledge", h.acting(h.acknowledge)},
		{"POST", "/api/v1/incidents/{id}/resolve", h.acting(h.resolve)},
		{"GET", "/api/v1/status", h.getStatus},
		{"POST", "/api/v1/silences", h.acting(h.silence)},
		{"DELETE", "/api/v1/silences/{id}", h.acting(h.unsilence)},
		{"POST", "/api/v1/hold", h.acting(h.hold)},
		{"POST", "/api/v1/unhold", h.acting(h.unhold)},
		{"GET", "/api/v1/session", h.getSession},
		{"POST", "/api/v1/session", h.login},
		{"DELETE", "/api/v1/session", h.logout},
		{"GET", "/api/v1/openapi.yaml", h.getDescription},
		{"GET", "/metrics", h.getMetrics},
		{"GET", "/healthz", h.getHealth},
	}
}

func (h *Handler) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range h.api() {
		mux.HandleFunc(r.method+" "+r.path, r.serve)
	}
	mux.HandleFunc("GET /assets/", h.getAsset)
	for _, page := range []string{"/{$}", "/host/{site}/{host}", "/incidents", "/incident/{id}", "/hub"} {
		mux.HandleFunc("GET "+page, h.getPage)
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "there is no such method and path; see /api/v1/openapi.yaml")
	})
	return mux
}

// policy lets the page have its own files and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	if err := h.gate.Load().origins.Check(r); err != nil {
		refuse(w, http.StatusForbidden, "this request was sent by the page of another site; open the hub's own page, "+
			"and behind a proxy set link to its address")
		return
	}
	h.mux.ServeHTTP(w, r)
}

// getHealth is 200 while the hub is connected and knows the saved state, so that it may be sent requests.
func (h *Handler) getHealth(w http.ResponseWriter, _ *http.Request) {
	if err := ready(h.cfg.Hub.Status()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

func ready(s Status) error {
	switch {
	case !s.Connected:
		return errors.New("not ready: NATS is not reached")
	case !s.Loaded:
		return errors.New("not ready: the saved state is not read yet")
	case s.Deaf != "":
		return errors.New("not ready: " + s.Deaf)
	}
	return nil
}
