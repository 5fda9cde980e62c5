package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

const (
	// fewestSilent is how many hosts of a site must fall silent for the site to count as silent.
	fewestSilent = 3
	// scanRest is the least time between two looks at all hosts.
	scanRest = int64(time.Second)
)

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
	if h.told == 0 || s.Version != "" && s.Version != h.version || string(s.Mode) != h.mode {
		f.touch(h) // the rest is told again soon, and saved along with what is worth it
	}
	h.setVersion(s.Version)
	if string(s.Mode) != h.mode {
		h.mode = strings.Clone(string(s.Mode))
	}
	h.told, h.fill, h.count, h.max = at, s.Fill, s.Count, s.Max
	if s.Stopped || at > h.stateAt || !h.stopped {
		f.setStopped(h, s.Stopped, at, ns)
	}
	f.silent.next = min(f.silent.next, h.seen+int64(f.cfg.SilentAfter))
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
		s.up, s.recent = 0, 0
	}
	next := int64(never)
	var fell []*host
	for _, list := range f.shards {
		for _, h := range list {
			due := h.seen + int64(f.cfg.SilentAfter)
			switch {
			case h.stopped:
				continue
			case h.silent:
			case now >= due:
				f.fall(h, now)
				fell = append(fell, h)
			default:
				h.site.up++
				next = min(next, due)
				continue
			}
			if now-h.stateAt <= int64(f.cfg.GroupWindow) {
				h.site.recent++
			}
		}
	}
	f.silent.next = max(next, now+scanRest)
	if len(fell) > 0 {
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

// findSilentSites makes one group of the sites of which enough hosts fell silent within the group window.
func (f *Fleet) findSilentSites(now int64) {
	var alone []*host
	for _, list := range f.shards {
		for _, h := range list {
			if h.silent && (h.silentGroup == nil || h.silentGroup.closed != 0) && now-h.stateAt <= int64(f.cfg.GroupWindow) {
				alone = append(alone, h)
			}
		}
	}
	slices.SortFunc(alone, compareHosts) // the first site gives the group its ID
	of := map[*site]*group{}
	for _, h := range alone {
		g, found := of[h.site]
		if !found {
			g = f.silentGroup(h.site, now)
			of[h.site] = g
		}
		if g != nil {
			f.joinSilent(g, h, now)
		}
	}
}

// silentGroup is the group that tells of a site's silence; nil: the site is not silent.
func (f *Fleet) silentGroup(s *site, now int64) *group {
	isSilent := s.recent >= fewestSilent && float64(s.recent) >= f.cfg.SiteSilentShare*float64(s.up+s.recent)
	var recent *group
	for _, g := range f.openGroups() {
		if g.kind != KindSilent {
			continue
		}
		if g.sums.sites[s] > 0 && g.sums.openHosts > 0 && now-g.last <= int64(f.cfg.GroupWindow) {
			return g
		}
		if now-g.last <= int64(f.cfg.GroupWindow) {
			recent = g
		}
	}
	switch {
	case !isSilent:
		return nil
	case recent != nil:
		return recent
	}
	g := f.begin(groupID(letterSilent, s.name, moment(now).Format(time.RFC3339Nano)), KindSilent, oncall.CauseSilent, now)
	g.critical = true
	return g
}

// joinSilent makes a silent host a member.
func (f *Fleet) joinSilent(g *group, h *host, now int64) {
	before := len(g.sums.sites)
	f.leaveSilent(h)
	f.enterSilent(g, h)
	g.last, g.quiet = now, 0
	f.touch(h)
	f.news(g, now)
	if len(g.sums.sites) > before {
		f.note(g, now, nil, fmt.Sprintf("site %s fell silent", h.site.name), true)
		g.worse = g.worse || len(g.pages) > 0
		g.wake(now)
	}
}

func (f *Fleet) enterSilent(g *group, h *host) {
	h.silentGroup, h.silentPos, h.row = g, len(g.hosts), nil
	g.hosts = append(g.hosts, h)
	f.countSilent(h, 1)
}

func (f *Fleet) leaveSilent(h *host) {
	g := h.silentGroup
	if g == nil {
		return
	}
	f.countSilent(h, -1)
	last := g.hosts[len(g.hosts)-1]
	g.hosts[h.silentPos], last.silentPos = last, h.silentPos
	g.hosts[len(g.hosts)-1] = nil
	g.hosts = g.hosts[:len(g.hosts)-1]
	h.silentGroup, h.row = nil, nil
}

// countSilent adds a host to the sums of the group of its silence, or takes it away.
func (f *Fleet) countSilent(h *host, sign int) {
	g := h.silentGroup
	if g == nil {
		return
	}
	g.sums.hosts += sign
	bump(g.sums.sites, h.site, sign)
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
