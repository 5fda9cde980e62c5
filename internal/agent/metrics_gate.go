package agent

import (
	"context"
	"maps"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The bounds of what is given to those who may not read the metrics. Their places are enough for them to be told so; their
// rate keeps a storm of connections, each of which costs 0.2 to 0.4 ms, at a fraction of a CPU. Whoever
// may read waits behind them in the kernel's queue then, which has 4096 places by default: 8 s where all are taken, less
// than the 10 s that a scraper usually waits.
const (
	strangerPlaces = 8
	strangerRate   = 500 // a second
	strangerBurst  = 100
)

// gatedListener judges who connects before that takes a place: those who may not read the metrics have places of their own,
// and so take none from those who may. Whether a request is answered is for [metricsAccess.check] to say.
type gatedListener struct {
	net.Listener
	may             func(peer) bool
	readers, others places
	pace            *rate.Limiter // of the others
	ctx             context.Context
}

// gated bounds a listener until ctx is done.
func gated(ctx context.Context, l net.Listener, may func(peer) bool) net.Listener {
	return &gatedListener{Listener: l, may: may, readers: make(places, maxConnections), others: make(places, strangerPlaces),
		pace: rate.NewLimiter(strangerRate, strangerBurst), ctx: ctx}
}

// Accept implements net.Listener.
func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who, room := peerCredentials(conn), l.readers
		if !l.may(who) {
			room = l.others
			_ = l.pace.Wait(l.ctx) // an error says that ctx is done, as the next Accept will
		}
		if taken, ok := room.take(conn, &who); ok {
			return taken, nil
		}
	}
}

// likely tells who may read as far as that is known without a wait. Whether a user is in the group may be a question to
// another host, so it is looked up aside: until then the user is none, and later what it was when last looked up.
func (a metricsAccess) likely(group *membership) func(peer) bool {
	return func(p peer) bool {
		switch {
		case a.named(p):
			return true
		case p.err != nil || p.elsewhere:
			return false
		case p.uid == 0 || p.uid == a.own:
			return true
		}
		return a.gid >= 0 && (int(p.gid) == a.gid || group.has(p.uid))
	}
}

// How long an answer holds before it is asked again, and how many are kept.
const (
	membershipFor  = time.Minute
	membershipMost = 1024 // users
)

// membership remembers which users are in a group. It may be used from any goroutine.
type membership struct {
	look func(uid uint32) bool

	mu    sync.Mutex
	known map[uint32]member
	busy  bool // one is being looked up
}

type member struct {
	is bool
	at time.Time
}

// has tells whether the user was in the group when that was last looked up, false where it never was, and has it looked
// up where that is long ago.
func (m *membership) has(uid uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := m.known[uid]
	if !m.busy && time.Since(last.at) > membershipFor {
		m.busy = true
		go m.learn(uid) // not in an errgroup, whose Wait would wait for a name service that hangs
	}
	return last.is
}

func (m *membership) learn(uid uint32) {
	is := m.look(uid)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy = false; len(m.known) >= membershipMost {
		maps.DeleteFunc(m.known, func(_ uint32, old member) bool { return !old.is }) // members are as many as the group has
	}
	m.known[uid] = member{is, time.Now()}
}
