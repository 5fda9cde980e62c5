package fleet

import (
	"slices"
	"strconv"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// incident is one incident of one host. Times are in ns.
type incident struct {
	id   string
	host *host
	// group is what it belongs to, at place pos there; nil: to none.
	group *group
	pos   int
	// counted is true while it is part of its group's sums.
	counted bool
	// known is false while only steps of it were heard of.
	known                                  bool
	critical, verified, historical, closed bool
	netns                                  string
	cause                                  string
	// opened and closedAt are the host's times, at the time of the last event taken, taken when the first one came here.
	opened, closedAt, at, taken int64
	// hot is when the first event came that says that it refuses connections, by the host's clock; 0: none did.
	hot int64
	// ended says why it was ended without its host's word; empty: it was not. missed counts the states of its host in a row
	// that did not list it.
	ended                string
	missed               int
	last                 uint64 // hash of the ID of the event taken last: two may have the same time
	drops, early, chains uint64
	entries, peak, max   uint64
	top                  []remediate.Talker
	verdict              string
	outcome              remediate.Outcome
	steps                []step
	dropped              stepCounts // of steps that are no longer listed
	noStep               []remediate.Reason
	// lead is the address that it is indexed under in Fleet.leads, at leadPos; empty: none.
	lead    string
	leadPos int
}

// setTop takes over who fills the table, where that is told.
func (i *incident) setTop(list []remediate.Talker) {
	if len(list) == 0 || slices.Equal(list, i.top) {
		return
	}
	i.top = slices.Clone(list)
	for k := range i.top {
		i.top[k].Address = text(i.top[k].Address, mostName)
	}
}

// live tells whether it is open and of now.
func (i *incident) live() bool { return i.known && !i.closed && !i.historical }

func (i *incident) severity() remediate.Severity {
	if i.critical {
		return remediate.SeverityCritical
	}
	return remediate.SeverityWarning
}

// set takes over what an event says of it. The highest severity counts, since events may be missing in between.
func (i *incident) set(d *remediate.Incident, at int64, closed bool) {
	i.known, i.at, i.missed = true, at, 0
	if !i.critical && d.Severity == remediate.SeverityCritical {
		i.critical, i.hot = true, at
	}
	i.verified = i.verified || d.Verified
	i.historical = d.Historical
	name := d.NetNS.Name
	if name == "" && d.NetNS.Inode != 0 { // one that the agent cannot see has no name there
		name = strconv.FormatUint(d.NetNS.Inode, 10)
	}
	if i.netns != name {
		i.netns = intern(text(name, mostName))
	}
	i.opened = min(nanos(d.OpenedAt), at) // no host has anything open that begins later
	i.drops, i.early, i.chains = max(i.drops, d.Drops), max(i.early, d.EarlyDrops), max(i.chains, d.ChainDrops)
	i.entries, i.peak, i.max = d.Count, max(i.peak, d.PeakCount), d.Max
	i.setTop(d.Top[:min(len(d.Top), mostTop)])
	if d.Verdict != "" && d.Verdict != i.verdict {
		i.verdict = text(d.Verdict, mostVerdict)
	}
	if d.Outcome != "" && d.Outcome != i.outcome {
		i.outcome = remediate.Outcome(text(string(d.Outcome), mostWord))
	}
	i.cause = i.causeNow()
	if closed {
		i.closed, i.closedAt = true, at
		if d.ClosedAt != nil {
			i.closedAt = min(nanos(*d.ClosedAt), at)
		}
	}
}

func (i *incident) causeNow() string {
	switch {
	case !i.critical:
		return oncall.CauseFilling
	case i.chains > 0 && i.drops+i.early == 0:
		return oncall.CauseChains
	}
	return oncall.CauseFull
}

// lost is how many connections it refused or threw out.
func (i *incident) lost() uint64 { return i.drops + i.chains + i.early }

// outgrows tells whether an incident refuses connections and a group has only such as fill up. What pages say of the ones
// must not be said of the others, and the group of those that refuse is over when the last of them is.
func (i *incident) outgrows(g *group) bool {
	return i.critical && g.cause == oncall.CauseFilling && g.talker == "" && !g.historical
}

// talker is the address that holds at least a third of the table's entries; empty: there is none. Those listed may be few of
// them, and more than there were when they were counted last.
func (i *incident) talker() string {
	if len(i.top) == 0 {
		return ""
	}
	var listed uint64
	best := i.top[0]
	for _, t := range i.top {
		listed += t.Entries
		if t.Entries > best.Entries {
			best = t
		}
	}
	if best.Entries == 0 || float64(best.Entries)*3 < float64(max(i.entries, listed)) {
		return ""
	}
	return best.Address
}

// leadEntries is how many entries its talker holds.
func (i *incident) leadEntries() uint64 {
	var most uint64
	for _, t := range i.top {
		most = max(most, t.Entries)
	}
	return most
}

// drop throws an incident out; its events will be recognised. What it counted stays with a group that is open.
func (f *Fleet) drop(i *incident) {
	h := i.host
	if g := i.group; g != nil {
		if g.closed == 0 && !g.historical {
			g.base.addGone(i)
		}
		f.leave(i)
		g.wake(0) // it may have been the last one that was open
	}
	f.setLead(i, "")
	h.bury(i.id)
	h.incidents = slices.DeleteFunc(h.incidents, func(o *incident) bool { return o == i })
	f.touch(h)
}
