package fleet

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

func compareHosts(a, b *host) int {
	return cmp.Or(cmp.Compare(a.site.name, b.site.name), cmp.Compare(a.name, b.name))
}

// loadShard puts a saved shard in the place of what is known of it. Hosts that were only seen stay.
func (f *Fleet) loadShard(n uint8, value []byte) error {
	list, err := hostRows(value)
	if err != nil {
		return err
	}
	rows := map[string]*host{}
	for _, h := range f.shards[n] {
		if h.saved && h.row != nil {
			rows[string(h.row)] = h
		}
	}
	kept := make(map[*host]bool, len(list))
	var fresh []hostRow
	for _, raw := range list {
		if h := rows[string(raw)]; h != nil {
			kept[h] = true // as it was
			continue
		}
		r := hostRow{raw: raw}
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		fresh = append(fresh, r)
	}
	for i := range fresh {
		r := &fresh[i]
		if shardOf(r.Site, r.Name) != n {
			continue // somebody else's doing: it would never be saved again
		}
		h := f.host(r.Site, r.Name)
		kept[h] = true
		f.loadHost(h, r)
		h.row = bytes.Clone(r.raw)
	}
	for _, h := range slices.Clone(f.shards[n]) {
		if h.saved && !kept[h] {
			f.forgetQuietly(h)
		}
	}
	return nil
}

// hostRows takes a saved shard apart.
func hostRows(value []byte) ([]json.RawMessage, error) {
	if len(value) == 0 {
		return nil, nil
	}
	raw, err := unpack(value)
	if err != nil {
		return nil, err
	}
	if list, ok := splitRows(raw); ok {
		return list, nil
	}
	var row shardRow
	err = json.Unmarshal(raw, &row)
	return row.Hosts, err
}

// splitRows takes a shard apart as it is written here. It is for hubs that stand by: they read each shard several times a
// second in a storm, while most rows are as they were. The rows are not checked; false: it is not written so.
func splitRows(b []byte) (rows []json.RawMessage, ok bool) {
	b, begins := bytes.CutPrefix(b, []byte(`{"h":[`))
	b, ends := bytes.CutSuffix(b, []byte(`]}`))
	if !begins || !ends {
		return nil, false
	}
	depth, from, text := 0, 0, false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			if depth == 0 {
				from = i
			}
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				rows = append(rows, b[from:i+1])
			}
		}
		if depth < 0 || depth == 0 && !text && c != ',' && c != '}' {
			return nil, false
		}
	}
	return rows, depth == 0 && !text
}

// loadHost takes over a saved host. What was seen of it later stays.
func (f *Fleet) loadHost(h *host, r *hostRow) {
	f.clearHost(h)
	f.alter(h)
	h.saved, h.version, h.agentAt, h.lastWord, h.stateAt = true, r.Version, r.AgentAt, r.LastWord, r.StateAt
	h.silent, h.stopped = r.State == HostSilent, r.State == HostStopped
	h.seen = max(h.seen, r.Seen)
	if r.Told >= h.told {
		h.told, h.fill, h.count, h.max, h.mode = r.Told, r.Fill, r.Count, r.Max, r.Mode
	}
	h.tombs, h.folded = r.Tombs, r.Folded
	for _, s := range r.Steps {
		h.steps = append(h.steps, s.step())
	}
	if r.Silent != "" {
		f.enterSilent(f.groupOf(r.Silent), h)
	}
	for k := range r.Incidents {
		i := r.Incidents[k].incident(h)
		h.incidents = append(h.incidents, i)
		if id := r.Incidents[k].Group; id != "" {
			f.enter(f.groupOf(id), i)
		}
		if i.live() {
			f.setLead(i, i.talkerKey())
		}
	}
}

// clearHost takes away what a saved row says of a host.
func (f *Fleet) clearHost(h *host) {
	for _, i := range h.incidents {
		f.leave(i)
		f.setLead(i, "")
	}
	f.leaveSilent(h)
	h.incidents, h.steps, h.tombs, h.folded, h.silent, h.stopped = nil, nil, nil, 0, false, false
}

// forgetQuietly removes a host that is no longer saved.
func (f *Fleet) forgetQuietly(h *host) {
	f.clearHost(h)
	f.unlist(h)
}

func (r *incidentRow) incident(h *host) *incident {
	i := &incident{
		id: r.ID, host: h, known: r.Flags&flagKnown != 0, critical: r.Flags&flagCritical != 0, verified: r.Flags&flagVerified != 0,
		historical: r.Flags&flagHistorical != 0, closed: r.Flags&flagClosed != 0, netns: intern(r.NetNS), cause: internCause(r.Cause),
		opened: r.Opened, closedAt: r.Closed, at: r.At, taken: r.Taken, hot: r.Hot, ended: r.Ended, last: r.Last, drops: r.Drops, early: r.Early, chains: r.Chains,
		entries: r.Count, peak: r.Peak, max: r.Max, verdict: r.Verdict, outcome: r.Outcome, noStep: r.NoStep,
	}
	if i.hot == 0 && i.critical {
		i.hot = i.opened // saved by an older hub, which did not note it
	}
	for _, t := range r.Top {
		i.top = append(i.top, remediate.Talker{Address: t.Address, Entries: t.Entries})
	}
	for _, s := range r.Steps {
		i.steps = append(i.steps, s.step())
	}
	if z := r.Dropped; len(z) == 5 {
		i.dropped = stepCounts{Applied: z[0], Effective: z[1], Ineffective: z[2], Failed: z[3], Reverted: z[4]}
	}
	return i
}

func (r *stepRow) step() step {
	return step{
		key: r.Key, at: r.At, from: r.From, to: r.To, reason: r.Reason, outcome: r.Outcome, why: r.Why,
		failed: r.Flags&flagFailed != 0, reverted: r.Flags&flagReverted != 0,
	}
}

// intern and internCause have the usual words stand in memory once.
func intern(netns string) string {
	if netns == "init" {
		return "init"
	}
	return strings.Clone(netns)
}

func internCause(cause string) string {
	for _, known := range []string{oncall.CauseFull, oncall.CauseFilling, oncall.CauseChains} {
		if cause == known {
			return known
		}
	}
	return cause
}

// groupOf is the group of that ID, which is made for its members to stand in until it is loaded itself. If it never is, it
// was not saved before a crash, and [Fleet.settle] makes it anew.
func (f *Fleet) groupOf(id string) *group {
	g := f.groups[id]
	if g == nil {
		g = &group{id: id, kind: KindConntrack, provisional: true, sums: newSums()}
		if id[:1] == letterSilent {
			g.kind = KindSilent
		}
		f.groups[id] = g
	}
	return g
}

func (f *Fleet) loadSilence(id string, value []byte) error {
	if len(value) == 0 {
		delete(f.silences, id)
		return nil
	}
	raw, err := unpack(value)
	if err != nil {
		return err
	}
	var s Silence
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	s.ID = id
	f.silences[id] = &s
	return nil
}
