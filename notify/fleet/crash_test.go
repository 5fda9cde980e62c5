package fleet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// engine is what the hub does with a fleet.
type engine struct {
	t *testing.T
	w *world
	f *Fleet
	// store is the bucket that outlives the hub.
	store map[string][]byte
	// crash tells whether to die now, at a point that may be died at; dice is what a crash brings about.
	crash func() bool
	dice  *rand.Rand
	// allSeen is true once the states of all hosts come again.
	allSeen bool
	// sent are the pages that went out, each as often as it did.
	sent  []Page
	acked int // how much of the script need not be taken again
}

// run takes the script in batches, saving each before it is acknowledged, and pages after that.
func (e *engine) run() {
	e.watch(start)
	for pos := 0; pos < len(e.w.script); {
		n := min(pos+1+e.w.r.IntN(6), len(e.w.script)) // the same batches with and without crashes
		now := e.w.script[n-1].Time
		e.tickUntil(now)
		e.batch(e.w.script[pos:n], now)
		pos = n
		e.acked = n
	}
	e.tickUntil(e.w.end)
	e.w.listens, e.allSeen = false, true
	e.watch(e.w.end)
	e.batch(nil, e.w.end)
	e.tickUntil(e.w.end.Add(2 * time.Hour))
}

// watch is what a hub does at its start, and when the states of hosts come.
func (e *engine) watch(now time.Time) {
	e.f.Connected(e.w.listens, now)
	if !e.allSeen {
		return
	}
	for _, h := range e.f.Hosts() {
		e.f.Seen(HostSeen{Site: h.Site, Host: h.Host, At: now, Max: 1}, now)
	}
}

// tickUntil calls Tick as it asks for, each with a save, up to that time.
func (e *engine) tickUntil(end time.Time) {
	for {
		next := e.f.Tick(e.w.now)
		if next.IsZero() || !next.Before(end) {
			return
		}
		e.w.now = next
		e.batch(nil, next)
	}
}

// batch folds events and saves until it has gone through.
func (e *engine) batch(events []Event, now time.Time) {
	e.w.now = now
	for {
		for _, ev := range events {
			e.f.Take(ev, now)
		}
		e.acknowledge(events, now)
		e.f.Tick(now)
		if e.save() && e.send(now) {
			return
		}
		e.restart(now)
		// Events that were acknowledged may come again as well, and so may those of the batch, more than once.
		for range e.dice.IntN(4) {
			if e.acked > 0 {
				e.f.Take(e.w.script[e.dice.IntN(e.acked)], now)
			}
		}
		if e.dice.IntN(2) == 0 {
			for _, ev := range events[:e.dice.IntN(len(events)+1)] {
				e.f.Take(ev, now)
			}
		}
	}
}

// acknowledge has somebody take the group of some events, and take it again where the hub died before that was saved: one who
// sees on the page that it was does not take it twice, which would be another acknowledgement of what has become of it since.
func (e *engine) acknowledge(events []Event, now time.Time) {
	for _, ev := range events {
		if d, ok := ev.Data.(remediate.Incident); ok && hash64(ev.ID)%11 == 0 {
			_, list, _ := e.f.Host(ev.Site, ev.Host)
			for _, i := range list {
				g, _ := e.f.Group(i.Group)
				done := slices.ContainsFunc(g.Timeline, func(e Entry) bool { return e.At.Equal(now) && e.Text == "acknowledged by mia" })
				if i.ID == d.ID && len(g.Pages) > 0 && g.Pages[0].DueAt.Before(now) && !done {
					_ = e.f.Acknowledge(g.ID, "mia", now)
				}
			}
		}
	}
}

// save writes what is dirty in the order promised; false: the hub died in the midst.
func (e *engine) save() bool {
	keys := e.f.Dirty()
	for _, key := range keys {
		if e.crash() {
			return false
		}
		value, err := e.f.Encode(key)
		if err != nil {
			e.t.Fatal(err)
		}
		if value == nil {
			delete(e.store, key)
		} else {
			e.store[key] = value
		}
	}
	e.f.Saved(keys)
	return true
}

// send sends what is due and saves that; false: the hub died between.
func (e *engine) send(now time.Time) bool {
	for _, p := range e.f.Due() {
		if e.crash() {
			return false
		}
		e.sent = append(e.sent, p)
		if e.crash() {
			return false
		}
		e.f.Delivered(p.ID, Delivery{At: now, Attempts: 1}, now)
	}
	return e.save()
}

func (e *engine) restart(now time.Time) {
	e.f = loadAll(e.t, e.store, e.w.cfg, e.dice)
	e.watch(now)
	e.f.Tick(now)
}

// lives is how many random lives to look at: fewer under the race detector, which has nothing to find here.
func lives(n uint64) uint64 {
	if raced {
		return n / 6
	}
	return n
}

// TestCrashes lets random fleets live through crashes at any point, with any part of a save done, and compares with the same
// life without a crash. In a few an incident comes to be in another group of its trouble.
func TestCrashes(t *testing.T) {
	var others []uint64
	defer func() {
		if most := 1 + int(lives(140))/60; len(others) > most {
			t.Errorf("with crashes the groups or pages differ in the lives %d, want %d at most", others, most)
		}
	}()
	for seed := range lives(140) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			life := func(odds int) *engine {
				w := newWorld(rand.New(rand.NewPCG(seed, 9)))
				w.now = start
				dice := rand.New(rand.NewPCG(seed, uint64(odds)))
				e := &engine{t: t, w: w, f: w.fleet(), store: map[string][]byte{}, dice: dice}
				e.crash = func() bool { return odds > 0 && dice.IntN(odds) == 0 }
				e.run()
				check(t, e.f)
				checkSent(t, e)
				return e
			}
			calm, rough := life(0), life(25)
			is, should := membership(rough.f)+"\n"+ids(rough.sent), membership(calm.f)+"\n"+ids(calm.sent)
			if !calm.w.lateTops && is != should {
				others = append(others, seed)
				t.Logf("with crashes the groups or pages differ: %s", firstDifference(is, should))
			}
			if testing.Verbose() {
				t.Logf("%d pages, %d with crashes", len(calm.sent), len(rough.sent))
			}
			if ids(calm.sent) == "" || ids(calm.sent) != allIDs(calm.sent) {
				t.Errorf("without crashes a page went out twice: %s", allIDs(calm.sent))
			}
		})
	}
}

// TestPrefixFoldedTwice takes random lives, each with its first part taken again at some point.
func TestPrefixFoldedTwice(t *testing.T) {
	for seed := range lives(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			life := func(again bool) *Fleet {
				w := newWorld(rand.New(rand.NewPCG(seed, 5)))
				at := w.r.IntN(len(w.script))
				prefix := w.r.IntN(at + 1)
				f := w.fleet()
				for n, ev := range w.script {
					f.Take(ev, ev.Time)
					if n == at && again {
						for _, ev := range w.script[:prefix] {
							f.Take(ev, w.script[at].Time)
						}
					}
					f.Tick(ev.Time)
				}
				f.Tick(w.end)
				return f
			}
			once, twice := life(false), life(true)
			check(t, twice)
			same(t, twice, once)
		})
	}
}

// TestAlteredTellsAll follows random lives by what is said to be altered, in the hub that leads and in one that reads what it
// saves: in the end that is all there is to know.
func TestAlteredTellsAll(t *testing.T) {
	looks := func(h Host) string { return fmt.Sprint(h.Severity, h.State, h.Open) }
	for seed := range lives(30) {
		w := newWorld(rand.New(rand.NewPCG(seed, 3)))
		leads, reads := w.fleet(), w.fleet()
		leads.Connected(true, start)
		shown := map[*Fleet]map[string]string{leads: {}, reads: {}}
		follow := func(f *Fleet) {
			f.Altered(func(h Host) { shown[f][h.Host] = looks(h) })
		}
		for n, ev := range w.script {
			leads.Take(ev, ev.Time)
			leads.Tick(ev.Time)
			if n%7 == 0 {
				w.someDoing(leads, ev.Time)
			}
			follow(leads)
			keys := leads.Dirty()
			for _, key := range keys {
				value, err := leads.Encode(key)
				if err != nil {
					t.Fatal(err)
				}
				if err := reads.Load(key, value); err != nil {
					t.Fatal(err)
				}
			}
			leads.Saved(keys)
			follow(reads)
		}
		for name, f := range map[string]*Fleet{"leading": leads, "reading": reads} {
			for h := range f.All() {
				if shown[f][h.Host] != looks(h) {
					t.Errorf("seed %d, %s: %s looks %q and was told as %q", seed, name, h.Host, looks(h), shown[f][h.Host])
				}
			}
		}
	}
}

// checkSent holds what went out against what the groups say.
func checkSent(t *testing.T, e *engine) {
	t.Helper()
	first := map[string]int{}
	triggers := map[string]string{}
	for n, p := range e.sent {
		if _, again := first[p.ID]; !again {
			first[p.ID] = n
		}
		key := p.Group + " " + p.To + " " + p.Key
		if p.Action != oncall.ActionTrigger {
			if _, ok := triggers[key]; !ok {
				t.Errorf("%s went out before a trigger", p.ID)
			}
			continue
		}
		if id, ok := triggers[key]; ok && id != p.ID {
			t.Errorf("%s and %s are both triggers", id, p.ID)
		}
		triggers[key] = p.ID
	}
	for _, g := range e.f.Groups() {
		if g.ClosedAt.IsZero() {
			t.Errorf("group %s is open at the end: %+v", g.ID, g)
		}
		if (g.Historical || g.MergedInto != "") && len(g.Pages) > 0 {
			t.Errorf("group %s was paged: %+v", g.ID, g)
		}
		for _, p := range g.Pages {
			if _, ok := first[p.ID]; !ok {
				t.Errorf("%s did not go out", p.ID)
			}
			if p.Status != PageDelivered {
				t.Errorf("%s is %s", p.ID, p.Status)
			}
		}
		for key, id := range triggers {
			if strings.HasPrefix(key, g.ID+" ") && !slices.ContainsFunc(g.Pages, func(p PageState) bool { return p.ID == id }) {
				t.Errorf("%s went out and is not known", id)
			}
		}
	}
	for key, id := range triggers {
		if _, ok := first[strings.Replace(id, ".t", ".r", 1)]; !ok {
			t.Errorf("%s: there is no end of %s", key, id)
		}
	}
}

// membership is which incident is in which group.
func membership(f *Fleet) string {
	var out []string
	for h := range f.All() {
		_, list, _ := f.Host(h.Site, h.Host)
		for _, i := range list {
			out = append(out, i.ID+" in "+i.Group)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// ids are the IDs of pages, each once; allIDs each as often as it went out.
func ids(pages []Page) string {
	list := strings.Split(allIDs(pages), "\n")
	return strings.Join(slices.Compact(list), "\n")
}

func allIDs(pages []Page) string {
	var out []string
	for _, p := range pages {
		if p.Cause == oncall.CauseBudget || p.Action == oncall.ActionUpdate {
			continue // a crash can tell sooner of a step, and later of what changed
		}
		out = append(out, p.ID)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}
