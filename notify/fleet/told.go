package fleet

import (
	"github.com/ctwarden/ctwarden/notify/oncall"
)

// Told are the last pages that were delivered of every open group, one for each sender that was told of it, as things stand
// now: for senders to a place that forgets what it is not told again, at the start of a hub's term.
func (f *Fleet) Told() []Page {
	var out []Page
	for _, g := range f.openGroups() {
		last := map[string]PageState{}
		for _, p := range g.pages {
			if p.Status == PageDelivered && p.Action != oncall.ActionResolve && g.lastTrigger(p.To).Key == p.Key {
				last[p.To] = p
			}
		}
		if len(last) == 0 {
			continue
		}
		v := f.view(g)
		for _, p := range g.pages {
			if l, ok := last[p.To]; ok && l.ID == p.ID {
				out = append(out, Page{ID: p.ID, Group: g.id, To: p.To, Notification: f.notification(g, &v, p)})
			}
		}
	}
	return out
}

// StepsUsed is how many automatic steps the last hour has seen, as of the last Tick, up to the budget.
func (f *Fleet) StepsUsed() int { return len(f.budget.times) }

// Brief is the host of that name without its incidents.
func (f *Fleet) Brief(siteName, name string) (Host, bool) {
	h := f.hosts[hostKey{siteName, name}]
	if h == nil {
		return Host{}, false
	}
	return h.view(), true
}
