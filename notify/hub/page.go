package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub/web"
	"github.com/ctwarden/ctwarden/remediate"
)

// Page is what the page needs: the hub's side of each of its interfaces, and who may act.
func (h *Hub) Page(a web.Access) web.Config {
	return web.Config{Fleet: pageFleet{h}, Incidents: pageIncidents{h}, Hub: h, Doer: h, Access: a, Log: h.o.Log}
}

// pageFleet shows the hosts.
type pageFleet struct{ h *Hub }

// Revision implements web.Fleet.
func (p pageFleet) Revision() uint64 { return p.h.hosts.current() }

// Rows implements web.Fleet.
func (p pageFleet) Rows(since uint64, take func(web.Row)) uint64 { return p.h.hosts.since(since, take) }

// Host implements web.Fleet. The host's whole state is read from the bucket.
func (p pageFleet) Host(ctx context.Context, site, host string) (web.HostDetail, error) {
	h := p.h
	d, seen := h.hosts.detail(site, host)
	known := false
	err := h.readers.turns.look(ctx, &h.mu, func() {
		if h.fleet == nil {
			return
		}
		_, d.Incidents, known = h.fleet.Host(site, host)
		if w := h.control.wanted(site, host, time.Now()); w != nil {
			h.summarize(time.Now())
			d.Hold = h.summary.hold(*w)
		}
	})
	if err != nil {
		return d, err
	}
	if !seen && !known {
		return d, fmt.Errorf("%w: nothing is known of host %s at %s", web.ErrNotFound, host, site)
	}
	d.Site, d.Host = site, host
	done, err := h.readers.detail(ctx)
	if err != nil {
		return d, err
	}
	defer done()
	status, err := h.status(ctx, site, host)
	if err != nil {
		return d, err
	}
	d.Status = status
	d.Steps = steps(status)
	return d, nil
}

// status reads a host's whole state; nil where it has expired.
func (h *Hub) status(ctx context.Context, site, host string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, attach)
	defer cancel()
	s, err := h.js.Stream(ctx, "KV_"+notify.HostsBucket)
	if err != nil {
		return nil, unavailable("read the state of "+host, err)
	}
	m, err := s.GetLastMsgForSubject(ctx, notify.HostStateSubject(site, host))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable("read the state of "+host, err)
	}
	if m.Header.Get(opHeader) != "" {
		return nil, nil
	}
	if _, err := readHostState(notify.HostKey(site, host), m.Data); err != nil {
		return nil, nil // not the host's own document
	}
	return m.Data, nil
}

// steps are those that a host's state tells of, oldest first.
func steps(status json.RawMessage) []web.StepPoint {
	var d struct {
		Steps []remediate.Step `json:"steps"`
	}
	if status == nil || json.Unmarshal(status, &d) != nil {
		return nil
	}
	var out []web.StepPoint
	for _, s := range slices.Backward(d.Steps) {
		out = append(out, web.StepPoint{At: s.At, From: s.From, To: s.To, Reason: s.Reason, Result: result(s)})
	}
	return out
}

// result is the word for what became of a step.
func result(s remediate.Step) string {
	switch {
	case s.Outcome == remediate.OutcomeEffective:
		return "confirmed"
	case s.Error != "":
		return "failed"
	case len(s.Keys) == 0:
		return "refused"
	case s.To < s.From:
		return "reverted"
	}
	return "applied"
}

// pageIncidents shows the fleet's incidents.
type pageIncidents struct{ h *Hub }

// Revision implements web.Incidents.
func (p pageIncidents) Revision() uint64 { return p.h.readers.shown(p.current()) }

func (p pageIncidents) current() uint64 {
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	return p.h.revision
}

// Groups implements web.Incidents.
func (p pageIncidents) Groups() []fleet.Group {
	return p.h.readers.all(&p.h.mu, p.current, func() []fleet.Group {
		if p.h.fleet == nil {
			return nil
		}
		return p.h.fleet.Groups()
	})
}

// Group implements web.Incidents.
func (p pageIncidents) Group(ctx context.Context, id string) (g fleet.Group, err error) {
	known := false
	err = p.h.readers.turns.look(ctx, &p.h.mu, func() {
		if p.h.fleet != nil {
			g, known = p.h.fleet.Group(id)
		}
	})
	if err == nil && !known {
		err = fmt.Errorf("%w: there is no such incident; closed ones leave after a day", web.ErrNotFound)
	}
	return g, err
}

// backlog is what waits in the stream, as last asked.
type backlog struct {
	pending atomic.Uint64
	// saved is the time at which the last event that was saved came to the stream, in nanoseconds since 1970.
	saved atomic.Int64
}

// askBacklog asks the consumer now and then how much waits, until ctx is done.
func (h *Hub) askBacklog(ctx context.Context) error {
	return every(ctx, backlogEvery, func() error {
		within, cancel := context.WithTimeout(ctx, backlogEvery)
		cons, err := h.js.Consumer(within, notify.StreamName, Consumer)
		cancel()
		if err == nil {
			info := cons.CachedInfo()
			h.backlog.pending.Store(info.NumPending + uint64(info.NumAckPending))
		}
		within, cancel = context.WithTimeout(ctx, backlogEvery)
		h.askRoom(within)
		cancel()
		return nil
	})
}

// backlogEvery is how often the consumer is asked what waits.
const backlogEvery = 5 * time.Second
