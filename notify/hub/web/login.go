package web

import (
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
)

// sessionInfo is the answer of /api/v1/session.
type sessionInfo struct {
	// User is who acts; empty: nobody, the reader may only read.
	User string `json:"user"`
	// By is "login" or "proxy"; empty without a user.
	By string `json:"by,omitempty"`
	// Login is whether there are users who could log in.
	Login bool `json:"login"`
}

// who is the user of a request.
func (h *Handler) who(r *http.Request) sessionInfo {
	g := h.gate.Load()
	info := sessionInfo{Login: len(g.users) > 0}
	if user := g.named(r); user != "" {
		info.User, info.By = user, "proxy"
		return info
	}
	if cookie, err := r.Cookie(cookieName); err == nil {
		if user := h.sessions.user(cookie.Value, g, time.Now()); user != "" {
			info.User, info.By = user, "login"
		}
	}
	return info
}

func (h *Handler) getSession(w http.ResponseWriter, r *http.Request) { h.sendJSON(w, r, h.who(r)) }

func (h *Handler) login(w http.ResponseWriter, r *http.Request) {
	var given struct {
		User     string `json:"user"`
		Password string `json:"password"`
	}
	if !readJSON(w, r, &given) {
		return
	}
	g := h.gate.Load()
	if len(g.users) == 0 {
		refuse(w, http.StatusForbidden, "nobody can log in here: the hub's configuration has no users")
		return
	}
	from := g.client(r)
	if !h.attempts.allow(from, time.Now()) {
		w.Header().Set("Retry-After", strconv.Itoa(int(attemptEvery.Seconds())))
		refuse(w, http.StatusTooManyRequests, "too many attempts to log in; wait ten seconds")
		return
	}
	right, err := h.compare(r, g, given.User, given.Password)
	if err != nil {
		return // the reader has gone
	}
	if !right {
		h.cfg.Log.Warn("login_refused", zap.String("user", loggable(given.User)), zap.Stringer("from", from))
		refuse(w, http.StatusUnauthorized, "wrong user or password")
		return
	}
	h.cfg.Log.Info("login", zap.String("user", given.User), zap.Stringer("from", from))
	setCookie(w, r, h.sessions.begin(given.User, g.users[given.User], time.Now()))
	h.sendJSON(w, r, sessionInfo{User: given.User, By: "login", Login: true})
}

// compare takes as long for a user who is not there as for one who is.
func (h *Handler) compare(r *http.Request, g *gate, user, password string) (right bool, err error) {
	select {
	case h.attempts.places <- struct{}{}:
		defer func() { <-h.attempts.places }()
	case <-r.Context().Done():
		return false, r.Context().Err()
	}
	hash, known := g.users[user]
	if !known {
		hash = g.nobody
	}
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil && known, nil
}

// loggable keeps what a stranger typed for a name to a length and a form that a journal can bear.
func loggable(name string) string {
	if !goodName(name) {
		return "(no name)"
	}
	return name
}

func (h *Handler) logout(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(cookieName); err == nil {
		h.sessions.end(cookie.Value)
	}
	setCookie(w, r, "")
	h.sendJSON(w, r, sessionInfo{Login: len(h.gate.Load().users) > 0})
}
