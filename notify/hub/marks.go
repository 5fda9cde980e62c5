package hub

import (
	"time"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

// markEvery is the least time between two looks at what the fleet makes of every host.
const markEvery = time.Second

// markAll has every row show what the fleet makes of its host. The caller holds mu.
func (h *Hub) markAll() {
	if h.fleet == nil {
		return
	}
	h.marked, h.unmarked = time.Now(), false
	for host := range h.fleet.All() {
		h.mark(host)
	}
	if h.marked.Sub(h.swept) < sweepHosts {
		return
	}
	h.swept = h.marked
	h.hosts.sweep(func(site, host string) bool {
		_, known := h.fleet.Brief(site, host)
		return known
	}, h.marked)
}

// markChanged is markAll where something may have changed since, not too often. It tells whether it looked. The caller
// holds mu.
func (h *Hub) markChanged() bool {
	if !h.unmarked || time.Since(h.marked) < markEvery {
		return false
	}
	h.markAll()
	return true
}

// markHosts does the same for the hosts of a batch, at once. The caller holds mu.
func (h *Hub) markHosts(b Batch) {
	done := make(map[string]bool, len(b.Events))
	for _, d := range b.Events {
		key := d.Site + "." + d.Host
		if done[key] {
			continue
		}
		done[key] = true
		if host, ok := h.fleet.Brief(d.Site, d.Host); ok {
			h.mark(host)
		}
	}
	h.unmarked = true
}

func (h *Hub) mark(host fleet.Host) {
	h.hosts.mark(host.Site, host.Host, host.Severity, host.State == fleet.HostSilent, host.State == fleet.HostStopped, pairs(host.Labels))
}
