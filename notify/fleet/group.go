package fleet

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// The first letter of a group's ID says what it is, so that one can be made again from its members alone.
const (
	letterConntrack  = "c"
	letterChains     = "k"
	letterTalker     = "t"
	letterSilent     = "s"
	letterBudget     = "b"
	letterHistorical = "h"
)

// group is one trouble. Times are in ns, those of the hub unless said otherwise.
type group struct {
	id     string
	kind   Kind
	cause  string
	by     map[string]string
	key    string // the same as text, with the family of the cause
	talker string
	// talkerKey is what that address is known by, see [talkerKey].
	talkerKey string
	// critical never falls while it is open.
	critical, historical bool
	// opened is the earliest time at which a member was opened, by its host; begun when it was first heard of here.
	opened, begun, changed, closed int64
	// last is when a member was opened that came last, by its host's clock, quiet since when none is open, and quietEvent
	// the same by the host's clock; 0: some is open.
	last, quiet, quietEvent int64
	// hot is when a host began to refuse connections that did so last, by its own clock; 0: none did. What it does again
	// and again does not count.
	hot int64
	// provisional is true for one that is known from its members alone.
	provisional bool
	members     []*incident
	hosts       []*host // of a group of silent hosts
	sums        sums
	front       front
	base        base
	// frozen is how it was when it was closed; nil: it is open.
	frozen *Group

	pages []PageState
	// paged is how things stood at the last page but those to newly told senders, woken at the last that woke those who were
	// told.
	paged, woken told
	// anew is how often they were woken anew, tries how often one was tried again that could not be told, push how many
	// stages of escalation are told before their time.
	anew, tries, push int
	anewWhy           string // why they were woken last
	// follows is the group beside which this one is news; empty: there was none.
	follows string
	// pause is how long people were left alone before they were told of it, since its hosts had been through the same before.
	pause int64
	// news is true when something changed since, worse when it got worse in a way that pages at once.
	news, worse bool
	updates     int // told so far, for IDs; regular counts those that were not at once, for the doubling
	regular     int
	ackBy       string
	ackAt       int64
	escalated   int
	mergedInto  string
	related     []string
	silenced    bool
	savedAs     string // the figures that it was saved with, until it is mended; see [Fleet.mend]
	timeline    []Entry
	// next is when to look at it again.
	next int64
}

// told is what people know of a group.
type told struct {
	At          int64 `json:"at,omitempty"`
	Hosts       int   `json:"n,omitempty"`
	Critical    bool  `json:"c,omitempty"`
	Ineffective bool  `json:"i,omitempty"`
}

// groupID makes an ID of what is the same whenever the group is begun anew.
func groupID(letter string, parts ...string) string {
	h := sha256.New()
	for _, p := range append([]string{letter}, parts...) {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return letter + hex.EncodeToString(h.Sum(nil)[:10])
}

// freeID is an ID that no closed group has.
func (f *Fleet) freeID(letter string, parts ...string) string {
	id := groupID(letter, parts...)
	for f.groups[id] != nil && f.groups[id].closed != 0 {
		id = groupID(letter, id)
	}
	return id
}

// begin makes an open group and takes it into the index.
func (f *Fleet) begin(id string, kind Kind, cause string, now int64) *group {
	g := &group{id: id, kind: kind, cause: cause, opened: now, begun: now, changed: now, sums: newSums(), next: now}
	f.groups[id] = g
	f.ledger.mark(groupKey(id))
	return g
}

// severity is the highest so far.
func (g *group) severity() remediate.Severity {
	if g.critical {
		return remediate.SeverityCritical
	}
	return remediate.SeverityWarning
}

// isOpen tells whether a member is open.
func (g *group) isOpen() bool { return g.sums.open > 0 || g.kind == KindSilent && g.sums.openHosts > 0 }

// wake has the group looked at again at that time at the latest.
func (g *group) wake(at int64) { g.next = min(g.next, at) }

// change changes an incident and keeps the sums of its group right.
func (f *Fleet) change(i *incident, how func()) {
	f.uncount(i)
	how()
	f.count(i)
}

// recount changes a host and keeps the sums of its groups right.
func (f *Fleet) recount(h *host, how func()) {
	for _, i := range h.incidents {
		f.uncount(i)
	}
	f.countSilent(h, -1)
	how()
	f.countSilent(h, 1)
	for _, i := range h.incidents {
		f.count(i)
	}
}

// count adds an incident to the sums of its group.
func (f *Fleet) count(i *incident) {
	if i.group == nil || i.counted {
		return
	}
	first, firstOpen := i.firsts()
	i.group.sums.count(i, 1, first, firstOpen)
	i.group.front.offer(i.place())
	i.counted = true
}

func (f *Fleet) uncount(i *incident) {
	if !i.counted {
		return
	}
	i.counted = false
	first, firstOpen := i.firsts()
	i.group.sums.count(i, -1, first, firstOpen)
	i.withdraw()
}

// firsts tells whether no other incident of its host counts in its group, and no other open one.
func (i *incident) firsts() (first, firstOpen bool) {
	first, firstOpen = true, true
	for _, o := range i.host.incidents {
		if o != i && o.counted && o.group == i.group {
			first = false
			if !o.closed {
				return false, false
			}
		}
	}
	return first, firstOpen
}

// enter makes an incident a member.
func (f *Fleet) enter(g *group, i *incident) {
	i.group, i.pos, i.host.row = g, len(g.members), nil
	g.members = append(g.members, i)
	f.count(i)
}

// leave ends an incident's membership.
func (f *Fleet) leave(i *incident) {
	g := i.group
	if g == nil {
		return
	}
	f.uncount(i)
	last := g.members[len(g.members)-1]
	g.members[i.pos], last.pos = last, i.pos
	g.members[len(g.members)-1] = nil
	g.members = g.members[:len(g.members)-1]
	i.group, i.host.row = nil, nil
}

// news notes that something about a group changed, and has it looked at when that may be told.
func (f *Fleet) news(g *group, now int64) {
	g.changed, g.news = now, true
	f.ledger.mark(groupKey(g.id))
	if g.closed != 0 || g.historical {
		return
	}
	switch {
	case len(g.pages) == 0:
	case g.critical && !g.woken.Critical,
		g.critical && !g.paged.Critical,
		g.sums.hosts >= 10*max(g.paged.Hosts, 1),
		g.sums.steps.Ineffective > 0 && !g.paged.Ineffective:
		g.worse = true
		g.wake(now)
	case g.ackBy == "":
		g.wake(g.paged.At + f.interval(g))
	}
	if len(g.pages) > 0 && g.sums.hosts >= 10*max(g.woken.Hosts, 1) {
		g.wake(max(now, g.woken.At+int64(f.cfg.UpdateEvery)))
	}
}

// raise raises the severity and the cause of a group after one of its incidents.
func (f *Fleet) raise(g *group, i *incident, now int64) {
	f.heat(g, i)
	if i.closed || !i.critical || g.critical {
		return
	}
	g.critical, g.worse = true, true
	if g.cause == oncall.CauseFilling {
		g.cause = oncall.CauseFull
	}
	g.wake(now)
}
