package fleet

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

const (
	// longestUpdate is where the doubling of the time between updates ends.
	longestUpdate = time.Hour
	// mostPages bounds the pages that are kept of a group, besides those that are not updates.
	mostPages = 40
)

// evaluate does what is due for an open group, and sets when to look again.
func (f *Fleet) evaluate(g *group, now int64) {
	g.next = never
	if g.kind != KindBudget && !g.isOpen() {
		if g.quiet == 0 {
			g.quiet = now
		}
		if end := g.quiet + int64(f.cfg.GroupWait); now < end {
			g.wake(end)
			return
		}
		f.finish(g, now)
		return
	}
	if first := g.begun + int64(f.cfg.GroupWait); len(g.pages) == 0 && g.kind != KindBudget && now < first {
		g.wake(first)
		return
	}
	if f.hush(g, now) {
		return // looked at again when silences change or an incident joins
	}
	f.page(g, now)
}

// hush tells whether all that is open in a group is silenced, and keeps the group's mark.
func (f *Fleet) hush(g *group, now int64) bool {
	silenced := f.silenced(g, now)
	if silenced == g.silenced {
		return silenced
	}
	g.silenced = silenced
	text := "no longer silenced"
	if silenced {
		text = "silenced: nobody is paged"
	}
	f.note(g, now, nil, text, true)
	return silenced
}

// page decides the pages that are due.
func (f *Fleet) page(g *group, now int64) {
	told := g.told()
	why, grew := f.wakes(g, told, now)
	if g.ackBy != "" && !g.worse && why == "" {
		return
	}
	first := len(g.pages) == 0
	update := !first && f.updateDue(g, now)
	if why != "" {
		told = f.rouse(g, told, why, grew, now)
	}
	f.pageOthers(g, update, now)
	switch {
	case first && len(g.pages) > 0:
		g.markTold(now)
		g.woken = g.paged
	case update:
		f.pageUpdate(g, told, now)
		if len(told) == 0 { // what could not be said before was said now, as a first page
			g.woken = g.paged
		}
	}
	g.worse = false
}

// pageOthers tells those who were not told, or could not be: these only when an update is due.
func (f *Fleet) pageOthers(g *group, again bool, now int64) {
	for added := true; added; { // again after a page, from which the stages of its route count
		added = false
		for _, t := range f.targets(g, now) {
			last := g.lastTrigger(t.to)
			if last != nil && (last.Status != PageDead || !again) {
				continue
			}
			at, pause := f.paced(g, t.to)
			if now < at {
				g.wake(at)
				continue
			}
			g.pause = max(g.pause, pause)
			p := PageState{Action: oncall.ActionTrigger, To: t.to, Route: t.route, Key: g.keyNow()}
			if last != nil {
				g.tries++
				p.ID = "x" + strconv.Itoa(g.tries)
			}
			f.addPage(g, p, now)
			added = true
		}
	}
}

// updateDue tells whether an update is due, at once or because the time has passed.
func (f *Fleet) updateDue(g *group, now int64) bool {
	atOnce := g.critical && !g.paged.Critical || g.sums.hosts >= 10*max(g.paged.Hosts, 1) ||
		g.sums.steps.Ineffective > 0 && !g.paged.Ineffective
	due := g.paged.At + f.interval(g)
	switch {
	case atOnce:
	case !g.news || g.ackBy != "" || g.kind == KindBudget && !g.hasDead():
		return false
	case now < due:
		g.wake(due)
		return false
	default:
		g.regular++
	}
	return true
}

// pageUpdate tells those who know of the group what is new.
func (f *Fleet) pageUpdate(g *group, told []PageState, now int64) {
	if len(told) > 0 {
		g.updates++
	}
	for _, p := range told {
		f.addPage(g, PageState{
			ID: strconv.Itoa(g.updates), Action: oncall.ActionUpdate, To: p.To, Route: p.Route, Key: p.Key,
		}, now)
	}
	g.markTold(now)
}

// markTold notes how things stand now that people are told.
func (g *group) markTold(now int64) { g.paged, g.news = g.standing(now), false }

func (g *group) standing(now int64) told {
	return told{At: now, Hosts: g.sums.hosts, Critical: g.critical, Ineffective: g.sums.steps.Ineffective > 0}
}

// interval is the least time to the next update.
func (f *Fleet) interval(g *group) int64 {
	every := int64(f.cfg.UpdateEvery)
	longest := max(every, int64(longestUpdate))
	for range g.regular {
		if every *= 2; every >= longest {
			return longest
		}
	}
	return every
}

// addPage makes a page due that says what, to whom and under which key; its ID is what tells it from others of the same. The
// page's ID is the same whenever it is decided anew.
func (f *Fleet) addPage(g *group, p PageState, now int64) {
	again := p.Action == oncall.ActionTrigger && p.ID != ""
	p.ID = g.id + "." + pageLetter[p.Action] + wave(p.Key) + p.ID + "." + p.To
	p.DueAt, p.Status = moment(now), PageDue
	g.pages = append(g.pages, p)
	if len(g.pages) > mostPages {
		if n := slices.IndexFunc(g.pages, g.dispensable); n >= 0 {
			g.pages = slices.Delete(g.pages, n, n+1)
		}
	}
	f.due[g.id] = g
	f.ledger.mark(groupKey(g.id))
	if p.Action != oncall.ActionUpdate && !g.goesOn(&p) {
		f.note(g, now, nil, string(p.Action)+" to "+p.To, !again)
	}
}

// pageLetter is what a page's ID begins with.
var pageLetter = map[oncall.Action]string{
	oncall.ActionTrigger: "t", oncall.ActionUpdate: "u", oncall.ActionAcknowledge: "a", oncall.ActionResolve: "r",
}

// dispensable tells whether a page may give way to others: an update that went out, or one that a later one of its kind
// has made old.
func (g *group) dispensable(p PageState) bool {
	if p.Status == PageDue {
		return false
	}
	return p.Action == oncall.ActionUpdate || slices.ContainsFunc(g.pages, func(o PageState) bool {
		return o.To == p.To && o.Action == p.Action && o.DueAt.After(p.DueAt)
	})
}

// finish closes a group, and tells so those who were told of it.
func (f *Fleet) finish(g *group, now int64) {
	for _, p := range g.told() {
		if f.resolves(p.Route) {
			f.addPage(g, PageState{Action: oncall.ActionResolve, To: p.To, Route: p.Route, Key: p.Key}, now)
		}
	}
	switch {
	case g.mergedInto != "":
	case len(g.pages) == 0:
		f.note(g, now, nil, "over before anybody was told", true)
	default:
		f.note(g, now, nil, "over", true)
	}
	frozen := f.view(g)
	g.closed, g.changed, g.next, g.silenced = now, now, never, false
	g.frozen = &frozen
	f.ledger.mark(groupKey(g.id))
	f.handOver(g)
}

// Due are the pages that have to go out, in the order in which they were decided for each group. The engine sends one only
// after what was dirty when it was due has been saved, and tells [Fleet.Delivered] once what became of it. What a page says
// is how things stand when Due is called.
func (f *Fleet) Due() []Page {
	groups := make([]*group, 0, len(f.due))
	for _, g := range f.due {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int { return cmp.Or(cmp.Compare(a.begun, b.begun), cmp.Compare(a.id, b.id)) })
	var out []Page
	for _, g := range groups {
		v := f.view(g)
		for _, p := range g.pages {
			if p.Status == PageDue {
				out = append(out, Page{ID: p.ID, Group: g.id, To: p.To, Notification: f.notification(g, &v, p)})
			}
		}
	}
	return out
}

// Delivered takes what became of a page. An ID that is not known, or was told of before, changes nothing.
func (f *Fleet) Delivered(id string, d Delivery, now time.Time) {
	f.settle(nanos(now))
	groupID, _, _ := strings.Cut(id, ".")
	g := f.groups[groupID]
	if g == nil {
		return
	}
	n := slices.IndexFunc(g.pages, func(p PageState) bool { return p.ID == id && p.Status == PageDue })
	if n < 0 {
		return
	}
	p := &g.pages[n]
	p.At, p.Attempts, p.Err = d.At.UTC(), d.Attempts, text(d.Err, mostVerdict)
	switch {
	case d.Dead:
		p.Status = PageDead
		f.note(g, nanos(now), nil, string(p.Action)+" to "+p.To+" did not get through: "+p.Err, p.Action != oncall.ActionTrigger || g.tries == 0)
		if p.Action == oncall.ActionTrigger && g.closed == 0 {
			g.news = true // it is tried again with the next update, and others may be told now
			g.wake(nanos(now))
		}
	case d.Replaced:
		p.Status = PageReplaced
	default:
		p.Status = PageDelivered
	}
	f.ledger.mark(groupKey(g.id))
	f.indexDue(g)
}

// indexDue keeps a group in the index as long as it has pages that are due.
func (f *Fleet) indexDue(g *group) {
	if slices.ContainsFunc(g.pages, func(p PageState) bool { return p.Status == PageDue }) {
		f.due[g.id] = g
	} else {
		delete(f.due, g.id)
	}
}

// Acknowledge takes that somebody looks after a group: it is told from then on only where it gets worse, and those who were
// told hear of it. A second one changes nothing. The errors are [ErrUnknown] and [ErrOver].
func (f *Fleet) Acknowledge(id, by string, now time.Time) error {
	at := nanos(now)
	f.settle(at)
	g := f.groups[id]
	switch {
	case g == nil:
		return ErrUnknown
	case g.closed != 0 || g.historical:
		return ErrOver
	case g.ackBy != "":
		return nil
	}
	g.ackBy, g.ackAt, g.changed = cmp.Or(clip(by, mostName), "somebody"), at, at
	f.note(g, at, nil, "acknowledged by "+g.ackBy, true)
	for _, p := range g.told() {
		ack := PageState{Action: oncall.ActionAcknowledge, To: p.To, Route: p.Route, Key: p.Key}
		if p.Key != g.keyNow() {
			ack.ID = "-" + wave(g.keyNow()) // it was acknowledged before, under the same key
		}
		f.addPage(g, ack, at)
	}
	g.wake(at)
	return nil
}
