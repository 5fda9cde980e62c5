package hub

import "time"

const (
	// sweepHosts is how often rows are looked for whose hosts were forgotten. What readers were told is gone is dropped by the
	// next look.
	sweepHosts = time.Minute
	// goneAfter is for how long this hub hears the bucket after the last state of a host that the fleet does not know, until
	// that loses its row: a hub that stands by knows hosts that are well from their states alone.
	goneAfter = time.Hour
)

// listened notes that this hub has heard the bucket of host states for so much longer. While it is cut off, or the bucket
// takes nothing, no host can be told to have gone.
func (h *hosts) listened(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard += d
}

// sweep takes the hosts off the board that the fleet has forgotten and that have sent no state for goneAfter. known must not
// call hosts.
func (h *hosts) sweep(known func(site, host string) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, r := range h.byKey {
		switch {
		case r.gone:
			h.unlink(r)
			delete(h.byKey, key)
		case h.heard-r.heardAt >= goneAfter && !known(r.site, r.host):
			h.unlink(r)
			gone := &hostRow{site: r.site, host: r.host, gone: true}
			h.byKey[key] = gone
			h.touch(gone)
		}
	}
}
