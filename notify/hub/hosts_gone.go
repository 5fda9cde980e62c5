package hub

import "time"

const (
	// sweepHosts is how often rows are looked for whose hosts were forgotten. What readers were told is gone is dropped by the
	// next look.
	sweepHosts = time.Minute
	// goneAfter is how long a host that the fleet does not know keeps its row after its last state: a hub that stands by knows
	// hosts that are well from their states alone.
	goneAfter = time.Hour
)

// sweep takes the hosts off the board that the fleet has forgotten and that have sent no state for goneAfter. known must not
// call hosts.
func (h *hosts) sweep(known func(site, host string) bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, r := range h.byKey {
		switch {
		case r.gone:
			h.unlink(r)
			delete(h.byKey, key)
		case now.Sub(r.seen) >= goneAfter && !known(r.site, r.host):
			h.unlink(r)
			gone := &hostRow{site: r.site, host: r.host, gone: true}
			h.byKey[key] = gone
			h.touch(gone)
		}
	}
}
