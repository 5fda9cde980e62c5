package fleet

import (
	"cmp"
	"slices"
)

const (
	// mostSample is how many hosts of a group are named.
	mostSample = 10
	// mostFront is how many are kept in front, so that some may fall back before all are looked at for others.
	mostFront = 2 * mostSample
)

// place is where a host stands in its group.
type place struct {
	open bool
	lost uint64
	h    *host
}

// before is negative where a host is named before another: those with open incidents first, then by what was refused.
func (p place) before(o place) int {
	if p.open != o.open {
		if p.open {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(o.lost, p.lost), cmp.Compare(p.h.name, o.h.name), cmp.Compare(p.h.site.name, o.h.site.name))
}

// front has the hosts of a group that are named first, in order, each once. It is kept as incidents change: of a group of
// thousands the page asks for them several times a second.
type front struct {
	places []place
	// left is true where hosts were left out; none of them is named before next.
	left bool
	next place
}

// offer puts a host into its place, unless it stands in a better one.
func (f *front) offer(p place) {
	if n := f.find(p.h); n >= 0 {
		if p.before(f.places[n]) >= 0 {
			return
		}
		f.places = slices.Delete(f.places, n, n+1)
	}
	if f.left && p.before(f.next) > 0 {
		return
	}
	n, _ := slices.BinarySearchFunc(f.places, p, place.before)
	f.places = slices.Insert(f.places, n, p)
	if len(f.places) > mostFront {
		f.left, f.next = true, f.places[mostFront]
		f.places = f.places[:mostFront]
	}
}

func (f *front) find(h *host) int {
	return slices.IndexFunc(f.places, func(p place) bool { return p.h == h })
}

// remove takes a host out.
func (f *front) remove(h *host) {
	if n := f.find(h); n >= 0 {
		f.places = slices.Delete(f.places, n, n+1)
	}
}

// place is where an incident puts its host.
func (i *incident) place() place { return place{!i.closed, i.lost(), i.host} }

// withdraw takes an incident out of the front of its group. The host stands there for its others.
func (i *incident) withdraw() {
	i.group.front.remove(i.host)
	for _, o := range i.host.incidents {
		if o != i && o.counted && o.group == i.group {
			i.group.front.offer(o.place())
		}
	}
}

// sample is some hosts, those with open incidents first, then by what was refused.
func (g *group) sample() []*host {
	if g.front.left && len(g.front.places) < mostSample {
		g.front = g.survey()
	}
	hosts := make([]*host, 0, mostSample)
	for _, p := range g.front.places[:min(len(g.front.places), mostSample)] {
		hosts = append(hosts, p.h)
	}
	return hosts
}

// survey looks at all members.
func (g *group) survey() (f front) {
	for _, i := range g.members {
		f.offer(i.place())
	}
	for _, h := range g.hosts {
		f.offer(place{open: h.silent, h: h})
	}
	return f
}

func namesOf(hosts []*host) []string {
	names := make([]string, 0, len(hosts))
	for _, h := range hosts {
		names = append(names, h.name)
	}
	return names
}
