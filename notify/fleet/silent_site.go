package fleet

import (
	"fmt"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

// fewestSilent is how many hosts of a site must fall silent within the group window for the site to count as silent at once.
const fewestSilent = 3

// A site may be too small for that, or fall silent host by host. It counts as silent too when none of its hosts is heard of,
// but those that said goodbye, and the last one fell silent WholeSiteAfter ago: longer than a reboot takes, since at a site
// of one host that is all there is to see.

// wholeSites looks for sites of which no host is heard of for long enough, and says when the next one may be due.
func (f *Fleet) wholeSites(now int64) (found bool, next int64) {
	next = never
	for _, s := range f.sites {
		if !s.dark() {
			continue
		}
		if due := s.lastFell + int64(f.cfg.WholeSiteAfter); now < due {
			next = min(next, due)
		} else {
			found = true
		}
	}
	return found, next
}

// dark tells whether no host of a site is heard of, which no group tells of.
func (s *site) dark() bool { return s.up == 0 && s.alone > 0 && !s.told }

// isSilent tells whether a site counts as silent, as of the last look at all hosts; whole is true where that is because none
// of its hosts is heard of.
func (f *Fleet) isSilent(s *site, now int64) (is, whole bool) {
	if s.recent >= fewestSilent && float64(s.recent) >= f.cfg.SiteSilentShare*float64(s.up+s.recent) {
		return true, false
	}
	whole = s.dark() && now >= s.lastFell+int64(f.cfg.WholeSiteAfter)
	return whole, whole
}

// alone tells whether a silent host belongs to no group that tells of its silence, or told of it.
func (h *host) alone() bool {
	g := h.silentGroup
	return g == nil || g.closed != 0 && h.stateAt > g.closed
}

// findSilentSites makes one group of the sites that count as silent.
func (f *Fleet) findSilentSites(now int64) {
	var alone []*host
	for _, list := range f.shards {
		for _, h := range list {
			if h.silent && h.alone() {
				alone = append(alone, h)
			}
		}
	}
	slices.SortFunc(alone, compareHosts) // the first site gives the group its ID
	type found struct {
		g     *group
		whole bool
	}
	of := map[*site]found{}
	for _, h := range alone {
		at, known := of[h.site]
		if !known {
			at.g, at.whole = f.silentGroup(h.site, now)
			of[h.site] = at
		}
		if at.g != nil && (at.whole || now-h.stateAt <= int64(f.cfg.GroupWindow)) {
			f.joinSilent(at.g, h, now)
		}
	}
}

// silentGroup is the group that tells of a site's silence; nil: the site is not silent.
func (f *Fleet) silentGroup(s *site, now int64) (g *group, whole bool) {
	is, whole := f.isSilent(s, now)
	var recent *group
	for _, g := range f.openGroups() {
		if g.kind != KindSilent {
			continue
		}
		apart := s.lastFell - g.last
		near := max(apart, -apart) <= int64(f.cfg.GroupWindow)
		if near && g.sums.sites[s] > 0 && g.sums.openHosts > 0 {
			return g, whole
		}
		if near {
			recent = g
		}
	}
	switch {
	case !is:
		return nil, false
	case recent != nil:
		return recent, whole
	}
	g = f.begin(groupID(letterSilent, s.name, moment(now).Format(time.RFC3339Nano)), KindSilent, oncall.CauseSilent, now)
	g.critical = true
	return g, whole
}

// joinSilent makes a silent host a member.
func (f *Fleet) joinSilent(g *group, h *host, now int64) {
	before := len(g.sums.sites)
	f.leaveSilent(h)
	f.enterSilent(g, h)
	g.last, g.quiet = max(g.last, h.stateAt), 0
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
