package simulate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// shareEvery is how often a host's state is sent, a quarter more or less at random, and shareLeast the least time
	// between two where something has changed. Both are an agent's.
	shareEvery = time.Minute
	shareLeast = 2 * time.Second
	// updateEvery is an agent's default of the least time between two updates of an incident.
	updateEvery = 30 * time.Second
	kernel      = "6.12.0-simulated"
)

// policy is an agent's default one, in mode remediate.
func policy() remediate.Policy {
	p := remediate.DefaultPolicy()
	p.Mode = remediate.ModeRemediate
	return p
}

// host is one simulated host. One goroutine owns it.
type host struct {
	id      notify.Identity
	boot    string
	tracker *remediate.Tracker
	table   table
	memory  remediate.Memory
	began   time.Time
	steps   []remediate.Step

	// shared is when the state was last sent, next when it is to be again, and changed whether something happened since.
	shared, next time.Time
	changed      bool
	// opened and closed tell of its one incident.
	opened, closed bool
}

// newHost is host number i of so many sites.
func newHost(i, sites int, o Options, now time.Time) *host {
	id := notify.Identity{Host: fmt.Sprintf("sim%06d.example", i), Site: fmt.Sprintf("sim-%02d", i%sites), Version: o.Version}
	// The boot's name must differ between runs: it is part of the events' ids, by which the stream and the hub tell that
	// they have seen an event.
	boot := fmt.Sprintf("%08x-%04x-4000-8000-%012x", uint32(now.Unix()), uint16(now.Nanosecond()), i)
	p := policy()
	h := &host{
		id: id, boot: boot, table: newTable(i), began: now,
		memory: remediate.Memory{Total: 64 << 30, Available: 32 << 30, EntryBytes: 320},
		tracker: remediate.NewTracker(remediate.TrackerConfig{
			Host: id.Host, BootID: boot, Start: now, Pressure: p.Pressure, Horizon: p.Horizon, CloseAfter: o.Lasts,
			UpdateEvery: updateEvery, ForeignPause: p.ForeignPause, MaxInsertRate: p.MaxInsertRate,
		}, remediate.TrackerState{}),
	}
	h.tracker.CaughtUp()
	return h
}

// hello is the event of a start, goodbye that of an end.
func (h *host) hello(now time.Time) remediate.Event {
	h.changed = true
	return h.tracker.Event(now, remediate.EventAgentStarted, h.agent())
}

func (h *host) goodbye(now time.Time) remediate.Event {
	return h.tracker.Event(now, remediate.EventAgentStopped, h.agent())
}

func (h *host) agent() remediate.AgentState {
	return remediate.AgentState{
		Version: h.id.Version, Kernel: kernel, BootID: h.boot, Mode: remediate.ModeRemediate,
		Sources: []remediate.Source{remediate.SourceKmsg, remediate.SourceJournal},
	}
}

// look reads the table and does what an agent does of it. It returns what happened.
func (h *host) look(now time.Time) []remediate.Event {
	events := h.tracker.Read(now, h.table.read(now))
	events = append(events, h.tracker.Tick(now)...)
	for _, ask := range h.tracker.Asks(now) {
		d := remediate.Decide(policy(), remediate.Situation{
			Now: now, Ask: ask, Limits: h.table.limits, Memory: h.memory, Chains: remediate.ChainsLong, Entries: h.table.count,
			StepTimes: h.tracker.StepTimes(), ForeignAt: h.tracker.ForeignAt(), Refusing: h.tracker.Critical(h.table.netns.Inode),
		})
		if !d.Do {
			events = append(events, h.tracker.Refused(now, policy(), d)...)
			continue
		}
		events = append(events, h.step(now, d)...)
		break
	}
	if s, ok := h.tracker.Settle(now); ok {
		h.steps[0] = s
		events = append(events, h.tracker.Confirmed(now, s)...)
	}
	h.note(events)
	return events
}

func (h *host) step(now time.Time, d remediate.Decision) []remediate.Event {
	h.table.raise(d.To, now)
	s := remediate.Step{
		ID: fmt.Sprintf("%s-%d", h.boot, len(h.steps)), IncidentID: d.IncidentID, At: now, From: d.From, To: d.To, Ceiling: policy().Ceiling,
		Reason: d.Reason, Mode: remediate.ModeRemediate, NetNS: d.NetNS, TookUS: 40,
		Keys: map[string]uint64{"net.netfilter.nf_conntrack_max": d.To, "net.nf_conntrack_max": d.To},
	}
	h.steps = append([]remediate.Step{s}, h.steps...)
	return h.tracker.Applied(now, s, false)
}

func (h *host) note(events []remediate.Event) {
	for _, ev := range events {
		h.changed = true
		switch ev.Type {
		case remediate.EventIncidentOpened:
			h.opened = true
		case remediate.EventIncidentClosed:
			h.closed = true
		}
	}
}

// share is the host's state where it is due, else nil.
func (h *host) share(now time.Time) ([]byte, error) {
	due := !now.Before(h.next) || h.changed && now.Sub(h.shared) >= shareLeast
	if !due {
		return nil, nil
	}
	h.shared, h.next, h.changed = now, now.Add(shareEvery*3/4+rand.N(shareEvery/2)), false
	body, err := json.Marshal(h.state(now))
	if err != nil {
		return nil, fmt.Errorf("encode the state of %s: %w", h.id.Host, err)
	}
	return body, nil
}
