package fleet

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// never is a time that does not come.
const never = math.MaxInt64

// Fleet is all that is known of the fleet. It is not safe for concurrent use: one loop owns it, or a lock guards it.
//
// Times are handed in. A time in Take and the others is the hub's own; it may stand still or go on, and where it goes back
// timers fire late, never twice.
type Fleet struct {
	cfg     Config
	hosts   map[hostKey]*host
	shards  [shards][]*host
	sites   map[string]*site
	classes map[string]*class
	groups  map[string]*group
	// byKey has the groups that may take the next incident of a cause and values, byTalker the one of an address.
	byKey    map[string][]*group
	byTalker map[string]*group
	// leads has the open incidents that an address leads.
	leads    map[string][]*incident
	silences map[string]*Silence
	// due has the groups with pages that have to go out.
	due    map[string]*group
	budget budget
	silent silentScan
	ledger ledger
	// altered are the hosts that may look different since they were last asked for.
	altered []*host
	// scratch and packing are what the last key was encoded in.
	scratch, packing []byte
	// unsettled is true after a Load, until the indices above are made anew.
	unsettled bool
	// silenceAt and pruneAt are when silences change next, and when old things are thrown out next, in ns.
	silenceAt, pruneAt int64
}

// New returns an empty fleet.
func New(cfg Config) *Fleet {
	return &Fleet{
		cfg: cfg.withDefaults(), hosts: map[hostKey]*host{}, sites: map[string]*site{}, classes: map[string]*class{},
		groups: map[string]*group{}, byKey: map[string][]*group{}, byTalker: map[string]*group{}, leads: map[string][]*incident{},
		silences: map[string]*Silence{}, due: map[string]*group{}, ledger: newLedger(), silenceAt: never, silent: silentScan{next: never},
	}
}

// Configure takes over a changed configuration. Groups stay as they are; who is to be told of them is looked at anew at the
// next Tick.
func (f *Fleet) Configure(cfg Config) {
	f.cfg = cfg.withDefaults()
	f.classes = map[string]*class{}
	for _, h := range f.hosts {
		f.recount(h, func() { h.class = f.classify(h.site, h.name) })
	}
	f.unsettled = true
	f.silent.next = min(f.silent.next, f.silent.from)
}

// Tick does what is due at now, and says when to call it next at the latest; zero: only after something came in. It is to
// be called after each batch of events too.
func (f *Fleet) Tick(now time.Time) (next time.Time) {
	at := nanos(now)
	f.settle(at)
	f.spend(at)
	if f.silent.connected && at >= f.silent.next {
		f.findSilent(at)
	}
	if at >= f.silenceAt {
		f.silencesChanged(at)
	}
	if at >= f.pruneAt {
		f.prune(at)
	}
	soon := min(f.silenceAt, f.pruneAt, f.budget.next)
	if f.silent.connected {
		soon = min(soon, f.silent.next)
	}
	for _, g := range f.openGroups() {
		if at >= g.next {
			f.evaluate(g, at)
		}
		soon = min(soon, g.next)
	}
	return moment(soon)
}

// openGroups are those that are not over, in an order that does not change.
func (f *Fleet) openGroups() []*group {
	var open []*group
	for _, g := range f.groups {
		if g.closed == 0 && !g.historical {
			open = append(open, g)
		}
	}
	slices.SortFunc(open, func(a, b *group) int { return cmp.Or(cmp.Compare(a.begun, b.begun), cmp.Compare(a.id, b.id)) })
	return open
}

// Mode is what a host may do that leaves it to the fleet: remediate where the rollout has come to it, else observe.
func (f *Fleet) Mode(site, name string) remediate.Mode {
	c := f.classOf(site, name)
	for _, sel := range f.cfg.Rollout {
		if (sel.Site == "" || sel.Site == c.site.name) && hasLabels(c.labels, sel.Labels) {
			return remediate.ModeRemediate
		}
	}
	return remediate.ModeObserve
}

// Labels are a host's labels, whether it is known or not.
func (f *Fleet) Labels(site, name string) map[string]string {
	return maps.Clone(f.classOf(site, name).labels)
}

// nanos is a time in nanoseconds since 1970; 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// moment is the time of nanos; the zero time for 0 and never.
func moment(ns int64) time.Time {
	if ns == 0 || ns == never {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
