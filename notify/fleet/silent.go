package fleet

import "time"

// scanRest is the least time between two looks at all hosts.
const scanRest = int64(time.Second)

// silentScan is when to look for silent hosts. Times are in ns.
type silentScan struct {
	// connected is true while the hub hears the fleet, from is when silence may first count since.
	connected bool
	from      int64
	next      int64
}

// Connected tells whether the hub itself is connected. It is to be called at the start too: until then nobody is silent,
// and nobody is for SilentAfter after it came back.
func (f *Fleet) Connected(yes bool, now time.Time) {
	if yes && !f.silent.connected {
		f.silent.from = nanos(now) + int64(f.cfg.SilentAfter)
		f.silent.next = f.silent.from
	}
	f.silent.connected = yes
}

// Seen takes a host's state.
func (f *Fleet) Seen(s HostSeen, now time.Time) {
	ns := nanos(now)
	at := min(nanos(s.At), ns)
	h := f.host(s.Site, s.Host)
	if at < h.told {
		return // it came late
	}
	first, fresh := h.told == 0, at > h.told
	if h.setVersion(s.Version) || first || string(s.Mode) != h.mode {
		f.touch(h) // the rest is told again soon, and saved along with what is worth it
	}
	if string(s.Mode) != h.mode {
		h.mode = text(string(s.Mode), mostWord)
	}
	h.told, h.fill, h.count, h.max = at, s.Fill, s.Count, s.Max
	if !h.stopped || h.after(nanos(s.Made), at) {
		f.setStopped(h, false, at, ns)
	}
	f.silent.next = min(f.silent.next, h.seen+int64(f.cfg.SilentAfter))
	if fresh && s.Listed && len(h.incidents) > 0 {
		f.unlisted(h, s.Incidents, at, ns)
	}
}

// after tells whether a state is from after the goodbye of a host's agent. Both times of that are the host's own where they
// are known: its clock may be wrong, and a state that came before the goodbye comes again where another hub leads. at is when
// the state arrived.
func (h *host) after(made, at int64) bool {
	if made == 0 || h.lastWord == 0 {
		return at > h.stateAt
	}
	return made > h.lastWord
}

// setStopped takes whether a host's agent said goodbye.
func (f *Fleet) setStopped(h *host, stopped bool, at, now int64) {
	if h.stopped != stopped {
		f.recount(h, func() {
			h.stopped, h.silent, h.stateAt = stopped, false, 0
			if stopped {
				h.stateAt = at
			}
		})
		f.touch(h)
		f.returned(h, now)
	}
	h.seen = max(h.seen, at)
	f.back(h, now)
}

// back ends a host's silence, if it was seen a short while ago.
func (f *Fleet) back(h *host, now int64) {
	if !h.silent || now-h.seen >= int64(f.cfg.SilentAfter) {
		return
	}
	f.recount(h, func() { h.silent, h.stateAt = false, 0 })
	f.touch(h)
	f.returned(h, now)
}

// returned tells the group of a host's silence that it has ended.
func (f *Fleet) returned(h *host, now int64) {
	for _, i := range h.incidents {
		if i.live() && i.group != nil {
			f.ledger.mark(groupKey(i.group.id))
		}
	}
	g := h.silentGroup
	if g == nil || g.closed != 0 {
		return
	}
	if g.sums.hosts <= manyHosts {
		text := " is heard of again"
		if h.stopped {
			text = " was stopped by hand"
		}
		f.note(g, now, h, h.name+text, false)
	}
	if !g.isOpen() && g.quiet == 0 {
		g.quiet = now
		g.wake(now + int64(f.cfg.GroupWait))
	}
	f.news(g, now)
}

// findSilent looks at all hosts, marks those that fell silent, and tells of sites that did.
func (f *Fleet) findSilent(now int64) {
	for _, s := range f.sites {
		s.up, s.recent, s.lastFell, s.alone, s.told = 0, 0, 0, 0, false
	}
	next := int64(never)
	fell := false
	for _, list := range f.shards {
		for _, h := range list {
			due := h.seen + int64(f.cfg.SilentAfter)
			switch {
			case h.stopped:
				continue
			case h.silent:
			case now >= due:
				f.fall(h, now)
				fell = true
			default:
				h.site.up++
				next = min(next, due)
				continue
			}
			if now-h.stateAt <= int64(f.cfg.GroupWindow) {
				h.site.recent++
			}
			h.site.lastFell = max(h.site.lastFell, h.stateAt)
			switch g := h.silentGroup; {
			case h.alone():
				h.site.alone++
			case g.closed == 0:
				h.site.told = true
			}
		}
	}
	small, due := f.wholeSites(now)
	f.silent.next = max(min(next, due), now+scanRest)
	if fell || small {
		f.findSilentSites(now)
	}
}

func (f *Fleet) fall(h *host, now int64) {
	f.recount(h, func() { h.silent, h.stateAt = true, now })
	f.touch(h)
	for _, i := range h.incidents {
		if i.live() && i.group != nil && i.group.closed == 0 {
			if milestone(i.group.sums.silent) {
				f.note(i.group, now, h, h.name+" fell silent: its incident stays open", i.group.sums.silent == 1)
			}
			f.news(i.group, now)
		}
	}
}

// countSilent adds a host to the sums of the group of its silence, or takes it away.
func (f *Fleet) countSilent(h *host, sign int) {
	g := h.silentGroup
	if g == nil {
		return
	}
	g.sums.hosts += sign
	bump(g.sums.sites, h.site, sign)
	if g.front.remove(h); sign > 0 {
		g.front.offer(place{open: h.silent, h: h})
	}
	if h.silent {
		g.sums.countOpen(h, sign)
	}
}

// hostState is how a host is heard of.
func (h *host) state() HostState {
	switch {
	case h.stopped:
		return HostStopped
	case h.silent:
		return HostSilent
	}
	return HostUp
}
