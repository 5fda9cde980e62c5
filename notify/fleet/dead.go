package fleet

import (
	"cmp"
	"slices"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

// mostDead is how many dead pages are listed.
const mostDead = 100

// DeadPage is a page that was given up. Its notification says how things stand now.
type DeadPage struct {
	Page  Page
	State PageState
}

// DeadPages are the last hundred pages that were given up, the latest first, of all groups that are known: they are saved
// with their groups, so that every hub shows them, also after a restart, for as long as the group is kept.
func (f *Fleet) DeadPages() []DeadPage {
	var out []DeadPage
	for _, g := range f.groups {
		for _, p := range g.pages {
			if p.Status == PageDead {
				out = append(out, DeadPage{Page: Page{Group: g.id}, State: p})
			}
		}
	}
	slices.SortFunc(out, func(a, b DeadPage) int {
		return cmp.Or(b.State.At.Compare(a.State.At), cmp.Compare(a.State.ID, b.State.ID))
	})
	out = out[:min(len(out), mostDead)]
	views := map[string]*Group{}
	for k := range out {
		d := &out[k]
		g := f.groups[d.Page.Group]
		if views[g.id] == nil {
			v := f.view(g)
			views[g.id] = &v
		}
		d.Page = Page{ID: d.State.ID, Group: g.id, To: d.State.To, Notification: f.notification(g, views[g.id], d.State)}
	}
	return out
}

// told are the last first pages of those who were told of the group, or will be. One that was given up told nobody.
func (g *group) told() (out []PageState) {
	for _, p := range g.triggers() {
		if p.Status != PageDead {
			out = append(out, p)
		}
	}
	return out
}

// triggers are the last first page of each sender, in the order of the first ones.
func (g *group) triggers() []PageState {
	var out []PageState
	for _, p := range g.pages {
		if p.Action != oncall.ActionTrigger {
			continue
		}
		if n := slices.IndexFunc(out, func(o PageState) bool { return o.To == p.To }); n >= 0 {
			out[n] = p
		} else {
			out = append(out, p)
		}
	}
	return out
}

// hasDead tells whether somebody was to be told and could not be.
func (g *group) hasDead() bool {
	return slices.ContainsFunc(g.triggers(), func(p PageState) bool { return p.Status == PageDead })
}

// lost tells whether nobody could be told of those who come before stage n of a route.
func (g *group) lost(r *Route, n int) bool {
	dead := func(to string) bool {
		p := g.lastTrigger(to)
		return p != nil && p.Status == PageDead
	}
	for _, to := range r.To {
		if !dead(to) {
			return false
		}
	}
	for _, stage := range r.Escalate[:n] {
		for _, to := range stage.To {
			if !dead(to) {
				return false
			}
		}
	}
	return true
}
