package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// groupRow is a saved group: how it is shown, and what is needed to go on with it. Times are in ns.
type groupRow struct {
	Group
	Key        string `json:"key,omitempty"`
	Begun      int64  `json:"begun"`
	Last       int64  `json:"last,omitempty"`
	Quiet      int64  `json:"quiet,omitempty"`
	QuietEvent int64  `json:"quiet_event,omitempty"`
	Base       base   `json:"base,omitzero"`
	Paged      told   `json:"paged,omitzero"`
	News       bool   `json:"news,omitempty"`
	Worse      bool   `json:"worse,omitempty"`
	Updates    int    `json:"updates,omitempty"`
	Hot        int64  `json:"hot,omitempty"`
	Woken      told   `json:"woken,omitzero"`
	Tries      int    `json:"tries,omitempty"`
	Push       int    `json:"push,omitempty"`
	AnewWhy    string `json:"anew_why,omitempty"`
	TalkerKey  string `json:"talker_key,omitempty"`
	Regular    int    `json:"regular,omitempty"`
	Pause      int64  `json:"pause,omitempty"`
}

func (f *Fleet) groupRow(g *group) groupRow {
	r := groupRow{
		Group: f.outline(g), Key: g.key, Begun: g.begun, Last: g.last, Quiet: g.quiet, QuietEvent: g.quietEvent, Base: g.base,
		Paged: g.paged, News: g.news, Worse: g.worse, Updates: g.updates, Regular: g.regular,
		Hot: g.hot, Woken: g.woken, Tries: g.tries, Push: g.push, AnewWhy: g.anewWhy, Pause: g.pause,
	}
	if g.talkerKey != g.talker {
		r.TalkerKey = g.talkerKey
	}
	return r
}

// loadGroup puts a saved group in the place of what is known of it. Its members stay.
func (f *Fleet) loadGroup(id string, value []byte) error {
	if len(value) == 0 || id == "" {
		f.removeGroup(id)
		return nil
	}
	raw, err := unpack(value)
	if err != nil {
		return err
	}
	var r groupRow
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	g := f.groupOf(id)
	v := r.Group
	g.kind, g.cause, g.by, g.key, g.talker = v.Kind, v.Cause, v.By, r.Key, v.Talker
	g.critical, g.historical = v.Severity == remediate.SeverityCritical, v.Historical
	g.opened, g.begun, g.changed, g.closed = nanos(v.OpenedAt), r.Begun, nanos(v.ChangedAt), nanos(v.ClosedAt)
	g.last, g.quiet, g.quietEvent, g.provisional = r.Last, r.Quiet, r.QuietEvent, false
	g.base, g.pages, g.paged, g.news, g.worse = r.Base, v.Pages, r.Paged, r.News, r.Worse
	g.updates, g.regular, g.ackBy, g.ackAt = r.Updates, r.Regular, v.AckBy, nanos(v.AckAt)
	g.escalated, g.mergedInto, g.related, g.silenced, g.timeline = v.Escalated, v.MergedInto, v.Related, v.Silenced, v.Timeline
	g.hot, g.woken, g.tries, g.push, g.anew, g.anewWhy, g.follows = r.Hot, r.Woken, r.Tries, r.Push, v.Anew, r.AnewWhy, v.Follows
	g.talkerKey, g.pause = cmp.Or(r.TalkerKey, v.Talker), r.Pause
	if g.woken == (told{}) {
		g.woken = g.paged // saved by an older hub
	}
	g.frozen, g.next, g.savedAs = nil, 0, v.figures()
	if g.closed != 0 && !g.historical {
		v.Pages, v.Timeline = nil, nil
		g.frozen = &v
	}
	f.indexDue(g)
	return nil
}

// removeGroup takes a group away. Members that it still has belong to none then.
func (f *Fleet) removeGroup(id string) {
	g := f.groups[id]
	if g == nil {
		return
	}
	for len(g.members) > 0 {
		f.leave(g.members[len(g.members)-1])
	}
	for len(g.hosts) > 0 {
		f.leaveSilent(g.hosts[len(g.hosts)-1])
	}
	delete(f.groups, id)
	delete(f.due, id)
}

// settle makes the indices anew after keys were loaded, and mends groups that were saved before their members were, or not
// at all.
func (f *Fleet) settle(now int64) {
	if !f.unsettled {
		return
	}
	f.unsettled = false
	f.byKey, f.byTalker = map[string][]*group{}, map[string]*group{}
	f.budget.group = nil
	var restored []*group
	for _, g := range f.groups {
		if g.provisional {
			f.restore(g, now)
			restored = append(restored, g)
		}
		switch {
		case g.historical:
			f.closePast(g, now)
		case g.closed == 0:
			f.mend(g)
			f.index(g)
			g.wake(now)
		}
	}
	for _, g := range restored {
		if g.closed == 0 {
			f.followAnew(g, now)
		}
	}
	for who, t := range f.byTalker {
		if t.isOpen() {
			f.gather(t, slices.Clone(f.leads[who]), now) // a crash may have kept some from moving
		}
	}
	f.settleBudget(now)
	f.silencesChanged(now)
	f.pruneAt = 0
}

// mend has an open group know what its members say that it was not saved with.
func (f *Fleet) mend(g *group) {
	if g.kind == KindBudget {
		return
	}
	for _, i := range g.members {
		g.last, g.quietEvent = max(g.last, i.opened), max(g.quietEvent, i.at)
		f.heat(g, i)
		if i.opened > 0 {
			g.opened = min(g.opened, i.opened)
		}
	}
	if g.isOpen() {
		g.quiet, g.quietEvent = 0, 0
	}
	if g.sums.critical > 0 {
		g.critical = true
		if g.cause == oncall.CauseFilling {
			g.cause = oncall.CauseFull
		}
	}
	v := f.outline(g)
	if g.savedAs != "" && g.savedAs != v.figures() {
		g.news, g.worse = true, len(g.pages) > 0
		f.ledger.mark(groupKey(g.id))
	}
	g.savedAs = ""
}

// figures are what a page says of a group in figures.
func (v *Group) figures() string {
	return fmt.Sprint(v.Hosts, v.OpenHosts, v.Incidents, v.Unverified, v.Drops, v.EarlyDrops, v.Steps, len(v.Sites), v.Severity)
}

// index has an open group found by what it takes. Of several of an address the one that was begun last is.
func (f *Fleet) index(g *group) {
	if g.kind == KindBudget {
		f.budget.group = g
		return
	}
	if g.key != "" {
		f.byKey[g.key] = append(f.byKey[g.key], g)
	}
	f.indexTalker(g)
}

func (f *Fleet) indexTalker(g *group) {
	if o := f.byTalker[g.talkerKey]; g.talkerKey != "" && (o == nil || o.closed != 0 || later(g, o)) {
		f.byTalker[g.talkerKey] = g
	}
}

// restore makes a group anew from its members, under the ID that it had.
func (f *Fleet) restore(g *group, now int64) {
	g.provisional, g.begun, g.opened, g.changed = false, now, now, now
	g.historical = g.id[:1] == letterHistorical
	for _, i := range g.members {
		g.begun, g.opened = min(g.begun, i.taken), min(g.opened, i.opened)
		g.last = max(g.last, min(i.opened, now))
		f.heat(g, i)
		g.critical = g.critical || i.critical && !i.closed
		g.by = i.host.class.by
		g.key = i.host.class.key
	}
	g.cause = oncall.CauseFilling
	if slices.ContainsFunc(g.members, func(i *incident) bool { return i.critical }) {
		g.cause = oncall.CauseFull
	}
	switch g.id[:1] {
	case letterTalker:
		g.by, g.key = nil, ""
		f.setTalker(g, g.commonTalker())
	case letterChains:
		g.cause = oncall.CauseChains
	}
	if g.talker == "" {
		g.key = g.cause + g.key
	}
	for _, h := range g.hosts {
		g.begun, g.opened, g.last = min(g.begun, h.stateAt), min(g.opened, h.stateAt), max(g.last, h.stateAt)
	}
	if g.kind == KindSilent {
		g.cause, g.critical = oncall.CauseSilent, true
	}
	if g.historical {
		f.closePast(g, now)
	}
	f.note(g, now, nil, "made anew from its incidents after a crash", true)
}

// commonTalker is the key of the address that leads on most members.
func (g *group) commonTalker() string {
	count, best := map[string]int{}, ""
	for _, i := range g.members {
		if who := i.talkerKey(); who != "" {
			if count[who]++; count[who] > count[best] || count[who] == count[best] && who < best {
				best = who
			}
		}
	}
	return best
}

// settleBudget finds the steps of the last hour.
func (f *Fleet) settleBudget(now int64) {
	b := &f.budget
	b.times = nil
	take := func(list []step) {
		for k := range list {
			if s := &list[k]; s.automatic() {
				b.note(s.at, now, f.cfg.StepsPerHour)
			}
		}
	}
	for _, h := range f.hosts {
		take(h.steps)
		for _, i := range h.incidents {
			take(i.steps)
		}
	}
	b.next = now
}
