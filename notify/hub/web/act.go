package web

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

// doWithin bounds an action: a broadcast is answered within two seconds, and the leader may be changing.
const doWithin = 15 * time.Second

// longest is how long a silence or a hold may last that has an end.
const longest = 90 * 24 * time.Hour

// acting lets only users pass, and hands over who it is.
func (h *Handler) acting(do func(w http.ResponseWriter, r *http.Request, by string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch who := h.who(r); {
		case who.User != "":
			do(w, r, who.User)
		case who.Login:
			refuse(w, http.StatusUnauthorized, "log in first")
		default:
			refuse(w, http.StatusForbidden, "this page is for reading only: the hub's configuration has neither users nor a trusted header")
		}
	}
}

// perform has the hub do it, and tells the reader what became of it.
func (h *Handler) perform(w http.ResponseWriter, r *http.Request, a Action) {
	ctx, cancel := context.WithTimeout(r.Context(), doWithin)
	defer cancel()
	result, err := h.cfg.Doer.Do(ctx, a)
	h.cfg.Log.Info("action", zap.String("verb", string(a.Verb)), zap.String("user", a.By),
		zap.String("incident", a.Incident), zap.String("site", a.Site), zap.String("host", a.Host), zap.Error(err))
	if err != nil {
		h.refuseFor(w, r, err)
		return
	}
	h.sendJSON(w, r, result)
}

func (h *Handler) acknowledge(w http.ResponseWriter, r *http.Request, by string) {
	h.perform(w, r, Action{Verb: VerbAcknowledge, By: by, Incident: r.PathValue("id")})
}

func (h *Handler) resolve(w http.ResponseWriter, r *http.Request, by string) {
	h.perform(w, r, Action{Verb: VerbResolve, By: by, Incident: r.PathValue("id")})
}

// newSilence is the body of POST /api/v1/silences.
type newSilence struct {
	Site    string            `json:"site"`
	Host    string            `json:"host"`
	Labels  map[string]string `json:"labels"`
	Cause   string            `json:"cause"`
	Seconds int64             `json:"seconds"`
	Comment string            `json:"comment"`
}

func (h *Handler) silence(w http.ResponseWriter, r *http.Request, by string) {
	var body newSilence
	if !readJSON(w, r, &body) {
		return
	}
	until, problem := endOf(body.Seconds)
	switch {
	case problem != "" || body.Seconds == 0:
		problem = "seconds: for how long, from 1 to 90 days"
	case body.Site == "" && body.Host == "" && len(body.Labels) == 0 && body.Cause == "":
		problem = "say what to silence: a site, hosts, labels or a cause"
	}
	if problem != "" {
		refuse(w, http.StatusBadRequest, problem)
		return
	}
	h.perform(w, r, Action{Verb: VerbSilence, By: by, Silence: fleet.Silence{
		Site: body.Site, Host: body.Host, Labels: body.Labels, Cause: body.Cause,
		From: time.Now().UTC(), Until: until, By: by, Comment: body.Comment,
	}})
}

func (h *Handler) unsilence(w http.ResponseWriter, r *http.Request, by string) {
	h.perform(w, r, Action{Verb: VerbUnsilence, By: by, Silence: fleet.Silence{ID: r.PathValue("id")}})
}

// scope is the body of POST /api/v1/hold and /api/v1/unhold.
type scope struct {
	Site string `json:"site"`
	Host string `json:"host"`
	// All must be true where neither is given, so that an empty body holds nobody.
	All bool `json:"all"`
	// Budget is the hub's own hold, which can only be released.
	Budget  bool   `json:"budget"`
	Seconds int64  `json:"seconds"`
	Why     string `json:"why"`
}

func (s scope) problem() string {
	switch {
	case s.Host != "" && s.Site == "":
		return "site: a host goes with its site"
	case s.Budget && (s.All || s.Site != ""):
		return "budget: the hub's own hold is released by itself, without site or all"
	case !s.Budget && s.All == (s.Site != ""):
		return `say whom: a site, a site and a host, or "all": true`
	}
	return ""
}

func (h *Handler) hold(w http.ResponseWriter, r *http.Request, by string) {
	h.order(w, r, Action{Verb: VerbHold, By: by})
}

func (h *Handler) unhold(w http.ResponseWriter, r *http.Request, by string) {
	h.order(w, r, Action{Verb: VerbUnhold, By: by})
}

func (h *Handler) order(w http.ResponseWriter, r *http.Request, a Action) {
	var body scope
	if !readJSON(w, r, &body) {
		return
	}
	until, problem := endOf(body.Seconds)
	if text := body.problem(); text != "" {
		problem = text
	} else if body.Budget && a.Verb != VerbUnhold {
		problem = "budget: the hub orders this hold by itself"
	}
	if problem != "" {
		refuse(w, http.StatusBadRequest, problem)
		return
	}
	a.Site, a.Host, a.Until, a.Why, a.Budget = body.Site, body.Host, until, body.Why, body.Budget
	h.perform(w, r, a)
}

// endOf is the time so many seconds from now; 0 seconds: none.
func endOf(seconds int64) (until time.Time, problem string) {
	if seconds < 0 || seconds > int64(longest/time.Second) {
		return time.Time{}, "seconds: from 1 to 90 days, or 0 for no end"
	}
	if seconds == 0 {
		return time.Time{}, ""
	}
	return time.Now().Add(time.Duration(seconds) * time.Second).UTC().Truncate(time.Second), ""
}
