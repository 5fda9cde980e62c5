package fleet

import (
	"slices"
	"strings"
)

// shards is over how many keys hosts are spread.
const shards = 256

type hostKey struct{ site, name string }

// site is a name that its hosts share, with what the scan for silent hosts counts.
type site struct {
	name string
	// up and recent are the hosts that are heard of, and those that fell silent within the group window.
	up, recent int
	// lastFell is when one of those that are silent fell so that did it last, alone how many of them no group tells of, told
	// whether an open group tells of some.
	lastFell int64
	alone    int
	told     bool
}

// host is a known host. Times are in ns.
type host struct {
	site    *site
	name    string
	version string
	class   *class
	shard   uint8
	pos     int // in its shard
	// row is how it is saved, kept until something changes that is worth a save; nil: to be made anew. In a storm most hosts
	// of a shard are as they were at the last save.
	row []byte
	// saved is true for one that came from a saved shard, altered while it is in [Fleet].altered.
	saved, altered bool
	// told is when its state last came; seen is when it was last seen, stateAt since when it is silent or stopped, agentAt when
	// its agent last told of a start or a stop. lastWord is the time of the last stop by the host's own clock, however wrong.
	told, seen, stateAt, agentAt, lastWord int64
	silent, stopped                        bool
	fill                                   float64
	count, max                             uint64
	mode                                   string
	incidents                              []*incident
	// steps are those that belong to no incident: by hand, at boot, by decay.
	steps []step
	// folded counts the open incidents that are no longer listed one by one, since it has too many.
	folded int
	// tombs are hashes of incidents that were thrown out, so that their events are recognised.
	tombs []uint64
	// silentGroup is the group that tells of its silence, or told of it; silentPos its place there.
	silentGroup *group
	silentPos   int
}

// host returns the host of that name, which is new if it was not known.
func (f *Fleet) host(siteName, name string) *host {
	siteName, name = boundName(siteName), boundName(name)
	if h := f.hosts[hostKey{siteName, name}]; h != nil {
		return h
	}
	s := f.site(siteName)
	name = strings.Clone(name)
	h := &host{site: s, name: name, shard: shardOf(siteName, name)}
	h.class = f.classify(s, name)
	h.pos = len(f.shards[h.shard])
	f.shards[h.shard] = append(f.shards[h.shard], h)
	f.hosts[hostKey{s.name, name}] = h
	f.alter(h)
	return h
}

func (f *Fleet) site(name string) *site {
	s := f.sites[name]
	if s == nil {
		s = &site{name: strings.Clone(name)}
		f.sites[s.name] = s
	}
	return s
}

// setVersion takes over what is told of the agent's version, and says whether it is another one. Like all texts from outside
// that are kept it is copied, since it may be a part of a whole message.
func (h *host) setVersion(v string) bool {
	if v == "" || v == h.version {
		return false
	}
	v = text(v, mostWord)
	changed := v != h.version
	h.version = v
	return changed
}

// forget removes a host with all that belongs to it.
func (f *Fleet) forget(h *host) {
	for len(h.incidents) > 0 {
		f.drop(h.incidents[len(h.incidents)-1])
	}
	f.leaveSilent(h)
	f.unlist(h)
	f.touch(h)
}

// unlist takes a host out of the lists.
func (f *Fleet) unlist(h *host) {
	list := f.shards[h.shard]
	last := list[len(list)-1]
	list[h.pos], last.pos = last, h.pos
	list[len(list)-1] = nil
	f.shards[h.shard] = list[:len(list)-1]
	delete(f.hosts, hostKey{h.site.name, h.name})
}

// touch marks what is saved of a host as changed.
func (f *Fleet) touch(h *host) {
	h.row = nil
	f.ledger.mark(shardKeys[h.shard])
	f.alter(h)
}

// alter has a host told of by [Fleet.Altered].
func (f *Fleet) alter(h *host) {
	if !h.altered {
		h.altered = true
		f.altered = append(f.altered, h)
	}
}

// find returns the host's incident of that ID, or nil.
func (h *host) find(id string) *incident {
	for _, i := range h.incidents {
		if i.id == id {
			return i
		}
	}
	return nil
}

// bury remembers an incident that is thrown out.
func (h *host) bury(id string) {
	if len(h.tombs) >= mostTombs {
		h.tombs = slices.Delete(h.tombs, 0, 1)
	}
	h.tombs = append(h.tombs, hash64(id))
}

// buried tells whether an incident was thrown out.
func (h *host) buried(id string) bool {
	return len(h.tombs) > 0 && slices.Contains(h.tombs, hash64(id))
}

// shardOf is the FNV-1a hash of <site>.<host>, folded to a byte.
func shardOf(siteName, name string) uint8 {
	h := hashAdd(hashAdd(hashAdd(fnvOffset, siteName), "."), name)
	return uint8(h ^ h>>8 ^ h>>16 ^ h>>24 ^ h>>32 ^ h>>40 ^ h>>48 ^ h>>56)
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// hash64 is the FNV-1a hash of a text.
func hash64(s string) uint64 { return hashAdd(fnvOffset, s) }

func hashAdd(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}
