package simulate

import (
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// state is what a host keeps in the fleet's bucket: the document of an agent (Status of package agent, which the hub
// cannot link, since it reads the kernel) under the same names, with all that the hub reads and most of the rest, so that
// it is about as long.
type state struct {
	Running    bool                 `json:"running"`
	Version    string               `json:"version"`
	Host       string               `json:"host"`
	Site       string               `json:"site"`
	Mode       remediate.Mode       `json:"mode"`
	Kernel     string               `json:"kernel"`
	BootID     string               `json:"boot_id"`
	StartedAt  time.Time            `json:"started_at"`
	At         time.Time            `json:"at"`
	Limits     remediate.Limits     `json:"limits"`
	Memory     remediate.Memory     `json:"memory"`
	NetNS      []netns              `json:"netns"`
	NetNSTotal int                  `json:"netns_total"`
	Sources    []source             `json:"sources"`
	Incidents  []remediate.Incident `json:"incidents"`
	Steps      []remediate.Step     `json:"steps"`
	Outbox     outbox               `json:"outbox"`
}

type netns struct {
	remediate.NetNS
	Count      uint64             `json:"count"`
	Peak       uint64             `json:"peak"`
	Counters   remediate.Counters `json:"counters"`
	InsertRate float64            `json:"insert_rate"`
}

type source struct {
	Source     remediate.Source `json:"source"`
	Up         bool             `json:"up"`
	CaughtUp   bool             `json:"caught_up"`
	Records    uint64           `json:"records"`
	Matches    uint64           `json:"matches"`
	Lost       uint64           `json:"lost"`
	LagSeconds float64          `json:"lag_seconds"`
}

type outbox struct {
	Enabled bool   `json:"enabled"`
	Events  int    `json:"events"`
	Max     int    `json:"max"`
	Dropped uint64 `json:"dropped"`
	Unsaved int    `json:"unsaved"`
}

func (h *host) state(now time.Time) state {
	t := &h.table
	s := state{
		Running: true, Version: h.id.Version, Host: h.id.Host, Site: h.id.Site, Mode: remediate.ModeRemediate, Kernel: kernel,
		BootID: h.boot, StartedAt: h.began, At: now, Limits: t.limits, Memory: h.memory,
		NetNS:      []netns{{NetNS: t.netns, Count: t.count, Peak: t.peak, Counters: t.counters}},
		NetNSTotal: 1, Incidents: h.tracker.Open(), Steps: h.steps, Outbox: outbox{Enabled: true, Max: 10000},
	}
	for _, name := range h.agent().Sources {
		s.Sources = append(s.Sources, source{Source: name, Up: true, CaughtUp: true})
	}
	return s
}
