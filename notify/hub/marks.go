package hub

import (
	"time"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

// markEvery is the least time between two looks at what the fleet makes of hosts that changed.
const markEvery = 100 * time.Millisecond

// markAll has every row show what the fleet makes of its host. With 100,000 hosts it takes half a second. The caller holds mu.
func (h *Hub) markAll() {
	if h.fleet == nil {
		return
	}
	h.fleet.Altered(func(fleet.Host) {})
	for host := range h.fleet.All() {
		h.mark(host)
	}
	h.markChanged()
}

// markChanged does the same for the hosts of which the fleet may make something else than before, not too often. It tells
// whether there were any. The caller holds mu.
func (h *Hub) markChanged() (any bool) {
	now := time.Now()
	if h.fleet == nil || now.Sub(h.marked) < markEvery {
		return false
	}
	h.marked = now
	h.fleet.Altered(func(host fleet.Host) {
		h.mark(host)
		any = true
	})
	if now.Sub(h.swept) >= sweepHosts {
		h.swept = now
		h.hosts.sweep(func(site, host string) bool {
			_, known := h.fleet.Brief(site, host)
			return known
		})
	}
	return any
}

// markHosts does the same for the hosts of some events, at once. The caller holds mu.
func (h *Hub) markHosts(events []Delivery) {
	done := make(map[string]bool, len(events))
	for _, d := range events {
		key := d.Site + "." + d.Host
		if done[key] {
			continue
		}
		done[key] = true
		if host, ok := h.fleet.Brief(d.Site, d.Host); ok {
			h.mark(host)
		}
	}
}

func (h *Hub) mark(host fleet.Host) {
	h.hosts.mark(host.Site, host.Host, host.Severity, host.State == fleet.HostSilent, host.State == fleet.HostStopped, pairs(host.Labels))
}
