package web

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Attempts to log in: of each address these at once, and then one every attemptEvery.
const (
	attemptsAtOnce = 5
	attemptEvery   = 10 * time.Second
	// maxAddresses bounds what is remembered. Beyond it, those who come share one allowance.
	maxAddresses = 4096
	// comparisons is how many passwords are compared at once: each takes a core for a quarter of a second.
	comparisons = 2
)

// attempts counts attempts to log in, by address; an IPv6 user has a whole /64 of these.
type attempts struct {
	mu     sync.Mutex
	of     map[netip.Prefix]*rate.Limiter
	others *rate.Limiter
	// places has an element for each comparison under way; one that finds it full waits.
	places chan struct{}
}

func newAttempts() *attempts {
	return &attempts{
		of: map[netip.Prefix]*rate.Limiter{}, others: newLimiter(), places: make(chan struct{}, comparisons),
	}
}

func newLimiter() *rate.Limiter { return rate.NewLimiter(rate.Every(attemptEvery), attemptsAtOnce) }

// allow takes one of the address's attempts, and tells whether there was one left.
func (a *attempts) allow(from netip.Addr, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	bits := 32
	if from.Is6() {
		bits = 64
	}
	key, err := from.Prefix(bits)
	if err != nil {
		return a.others.AllowN(now, 1) // a connection without an address
	}
	limiter := a.of[key]
	if limiter == nil {
		if len(a.of) >= maxAddresses {
			a.forget(now)
		}
		if len(a.of) >= maxAddresses {
			return a.others.AllowN(now, 1)
		}
		limiter = newLimiter()
		a.of[key] = limiter
	}
	return limiter.AllowN(now, 1)
}

// forget drops those whose allowance is whole again.
func (a *attempts) forget(now time.Time) {
	for key, limiter := range a.of {
		if limiter.TokensAt(now) >= attemptsAtOnce {
			delete(a.of, key)
		}
	}
}
