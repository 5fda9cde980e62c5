package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub/web"
)

// DoSubject is where the leading hub is asked to do something. Who may publish there may do all of it.
const DoSubject = "ctwarden.v1.hub.do"

// maxAsk is the most bytes that a request may have.
const maxAsk = 16 << 10

// doTime bounds a request: the answers of the hosts are waited for, and a save.
const doTime = 10 * time.Second

// ask is a request on the wire.
type ask struct {
	Verb     web.Verb       `json:"verb"`
	By       string         `json:"by"`
	Incident string         `json:"incident,omitempty"`
	Silence  *fleet.Silence `json:"silence,omitempty"`
	Site     string         `json:"site,omitempty"`
	Host     string         `json:"host,omitempty"`
	Until    time.Time      `json:"until,omitzero"`
	Why      string         `json:"why,omitempty"`
	Budget   bool           `json:"budget,omitempty"`
}

// told is the answer to it. Error is empty where it was done; Kind is the word for an error that callers tell apart.
type told struct {
	web.Result
	Error string `json:"error,omitempty"`
	Kind  string `json:"kind,omitempty"`
}

// request is what the leader is to do.
type request struct {
	web.Action
	// reply is called once, from the loop.
	reply func(web.Result, error)
}

// kinds are the errors that keep their meaning over the wire.
func kinds() map[string]error {
	return map[string]error{
		"not_found": web.ErrNotFound, "conflict": web.ErrConflict, "invalid": web.ErrInvalid, "no_leader": web.ErrNoLeader,
	}
}

// Do carries out what a user asks for, at the hub that leads, and returns when that has answered or ctx ends.
func (h *Hub) Do(ctx context.Context, a web.Action) (web.Result, error) {
	return Ask(ctx, h.o.Conn, a)
}

// Ask has the hub that leads do something, over the connection. It wraps [web.ErrNoLeader] where none answers.
func Ask(ctx context.Context, nc *nats.Conn, a web.Action) (web.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, doTime)
	defer cancel()
	q := ask{Verb: a.Verb, By: a.By, Incident: a.Incident, Site: a.Site, Host: a.Host, Until: a.Until, Why: a.Why, Budget: a.Budget}
	if a.Verb == web.VerbSilence || a.Verb == web.VerbUnsilence {
		q.Silence = &a.Silence
	}
	body, err := json.Marshal(q)
	if err != nil {
		return web.Result{}, fmt.Errorf("ask the hub: %w", err)
	}
	m, err := nc.RequestWithContext(ctx, DoSubject, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded):
		return web.Result{}, fmt.Errorf("%w: %w", web.ErrNoLeader, err)
	case err != nil:
		return web.Result{}, fmt.Errorf("ask the hub: %w", err)
	}
	var t told
	if err := json.Unmarshal(m.Data, &t); err != nil {
		return web.Result{}, fmt.Errorf("read the hub's answer: %w", err)
	}
	if t.Error == "" {
		return t.Result, nil
	}
	if kind := kinds()[t.Kind]; kind != nil {
		return t.Result, refusal{kind, t.Error}
	}
	return t.Result, errors.New(t.Error)
}

// refusal is an error of the leader's with its own words.
type refusal struct {
	kind error
	text string
}

func (r refusal) Error() string { return r.text }
func (r refusal) Unwrap() error { return r.kind }

// take hands a request to the loop. It is called from the subscription's goroutine.
func (l *leading) take(ctx context.Context, m *nats.Msg) {
	if m.Reply == "" {
		return // nobody asks; it may be an acknowledgement that a host had sent here
	}
	answer := func(r web.Result, err error) {
		t := told{Result: r}
		if err != nil {
			t.Error = err.Error()
			for word, kind := range kinds() {
				if errors.Is(err, kind) {
					t.Kind = word
				}
			}
		}
		body, err := json.Marshal(t)
		if err != nil {
			l.log.Warn("request_not_answered", zap.Error(err))
			return
		}
		l.outbox.put(outgoing{subject: m.Reply, body: body})
	}
	var q ask
	if err := readAsk(m.Data, &q); err != nil {
		answer(web.Result{}, err)
		return
	}
	a := web.Action{Verb: q.Verb, By: q.By, Incident: q.Incident, Site: q.Site, Host: q.Host, Until: q.Until, Why: q.Why, Budget: q.Budget}
	if q.Silence != nil {
		a.Silence = *q.Silence
	}
	select {
	case l.h.asked <- request{a, answer}:
	case <-ctx.Done():
		answer(web.Result{}, web.ErrNoLeader)
	}
}

func readAsk(body []byte, q *ask) error {
	if len(body) > maxAsk {
		return fmt.Errorf("%w: a request of %d bytes; at most %d", web.ErrInvalid, len(body), maxAsk)
	}
	if err := json.Unmarshal(body, q); err != nil {
		return fmt.Errorf("%w: not a request: %w", web.ErrInvalid, err)
	}
	if q.By == "" {
		return fmt.Errorf("%w: a request says by whom it is", web.ErrInvalid)
	}
	return nil
}

// answer carries a request out. It is answered once that is saved, one for hosts once they have answered too.
func (l *leading) answer(r request) {
	now := time.Now()
	if !l.holds() {
		r.reply(web.Result{}, web.ErrNoLeader)
		return
	}
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.changed = true
	l.h.revision++
	switch r.Verb {
	case web.VerbHold, web.VerbUnhold:
		l.order(r, now)
		return
	}
	id, err := l.act(r.Action, now)
	if err != nil {
		r.reply(web.Result{}, asWeb(err))
		return
	}
	l.replies = append(l.replies, func() { r.reply(web.Result{ID: id}, nil) })
}

// act does what concerns the fleet's picture alone.
func (l *leading) act(a web.Action, now time.Time) (id string, err error) {
	switch a.Verb {
	case web.VerbAcknowledge:
		return "", l.fleet.Acknowledge(a.Incident, a.By, now)
	case web.VerbResolve:
		return "", l.fleet.Resolve(a.Incident, a.By, now)
	case web.VerbSilence:
		a.Silence.By = a.By
		return l.fleet.Silence(a.Silence, now)
	case web.VerbUnsilence:
		return "", l.fleet.Unsilence(a.Silence.ID, a.By, now)
	}
	return "", fmt.Errorf("%w: no such verb: %q", web.ErrInvalid, a.Verb)
}

// order changes the holds.
func (l *leading) order(r request, now time.Time) {
	h, err := newHold(r.Action, now)
	if err != nil {
		r.reply(web.Result{}, err)
		return
	}
	allowed := ""
	reply := func(c counts, err error) {
		r.reply(web.Result{Text: c.text(h) + allowed, Reached: c.Reached, Done: c.Done, Refused: c.Refused, Missing: c.Missing}, err)
	}
	switch {
	case r.Verb == web.VerbHold:
		l.orders.hold(h, now, reply)
	case r.Budget && !l.orders.unholdBudget(h, now, reply):
		r.reply(web.Result{}, fmt.Errorf("%w: the hub does not hold the fleet on account of the hour's steps", web.ErrNotFound))
	case r.Budget:
		allowed = fmt.Sprintf("; not held again on account of the hour's steps before %s", l.control.Released.Until.UTC().Format("15:04:05 UTC"))
	case !l.orders.unhold(h, now, reply):
		r.reply(web.Result{}, fmt.Errorf("%w: there is no hold of exactly %s%s", web.ErrNotFound, h.whom(), l.ownHold(h, now)))
	}
}

// ownHold points to the hub's own hold, for who may have meant that; empty: there is none.
func (l *leading) ownHold(h hold, now time.Time) string {
	own := l.control.budget(now)
	if own == nil || h.Site != "" {
		return ""
	}
	return fmt.Sprintf(" that somebody asked for; the hub's own, on account of the hour's steps, ends at %s, or at once by ctwarden-hub unhold --budget",
		own.Until.UTC().Format("15:04 UTC"))
}

// newHold is the hold that a user asks for. Its times are whole seconds, so that what a host says of it is the same.
func newHold(a web.Action, now time.Time) (hold, error) {
	h := hold{Site: a.Site, Host: a.Host, Since: now.UTC().Truncate(time.Second), Until: a.Until.UTC().Truncate(time.Second), By: a.By, Why: a.Why}
	if a.Until.IsZero() {
		h.Until = time.Time{}
	}
	c := notify.Command{ID: "check", Rev: 1, At: now, Until: h.Until, By: a.By, Why: a.Why, Verb: notify.CommandHold}
	switch {
	case a.Budget && (a.Verb != web.VerbUnhold || h.Site != "" || h.Host != ""):
		return h, fmt.Errorf("%w: the hub's own hold is of all hosts, and can only be released", web.ErrInvalid)
	case h.Host != "" && h.Site == "":
		return h, fmt.Errorf("%w: a host is named with its site", web.ErrInvalid)
	case h.Site != "" && notify.CheckSite(h.Site) != nil:
		return h, fmt.Errorf("%w: %w", web.ErrInvalid, notify.CheckSite(h.Site))
	case a.Verb == web.VerbHold && !h.Until.IsZero() && !h.Until.After(now):
		return h, fmt.Errorf("%w: a hold must end in the future", web.ErrInvalid)
	}
	if a.Verb == web.VerbUnhold {
		c.Until = time.Time{}
	}
	if err := c.Check(); err != nil {
		return h, fmt.Errorf("%w: %w", web.ErrInvalid, err)
	}
	return h, nil
}

// whom says in words whom a hold reaches.
func (h hold) whom() string {
	switch {
	case h.Host != "":
		return "host " + h.Host + " at " + h.Site
	case h.Site != "":
		return "site " + h.Site
	}
	return "all hosts"
}

func (c counts) text(h hold) string {
	return fmt.Sprintf("%s: reached %d, done %d, refused %d, silent %d", h.whom(), c.Reached, c.Done, c.Refused, c.Missing)
}

// asWeb is an error of the fleet's as the page tells it apart.
func asWeb(err error) error {
	switch {
	case errors.Is(err, fleet.ErrUnknown):
		return refusal{web.ErrNotFound, err.Error()}
	case errors.Is(err, fleet.ErrOver):
		return refusal{web.ErrConflict, err.Error()}
	case errors.Is(err, web.ErrNotFound), errors.Is(err, web.ErrConflict), errors.Is(err, web.ErrInvalid):
		return err
	}
	return refusal{web.ErrInvalid, err.Error()}
}
