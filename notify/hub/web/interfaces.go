package web

import (
	"context"
	"errors"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

// What the methods of [Doer] and [Fleet] refuse with, besides [fleet.ErrUnknown] and [fleet.ErrOver], which mean the same
// as the first two. Any other error is a fault of the hub.
var (
	// ErrNotFound is for a host, an incident, a silence or a hold that is not there.
	ErrNotFound = errors.New("not found")
	// ErrConflict is for what cannot be done any more: the incident is closed, the silence is over.
	ErrConflict = errors.New("not possible now")
	// ErrInvalid is for what can never be done: an end in the past, an empty scope.
	ErrInvalid = errors.New("not valid")
	// ErrNoLeader is for what needs the leading hub while none answers; it may be tried again.
	ErrNoLeader = errors.New("no hub leads at the moment")
	// ErrBusy is for what too many ask for at once; it may be tried again.
	ErrBusy = errors.New("too many readers ask for single hosts and incidents at the moment; try again")
)

// Fleet is the state of every host. Its methods may be called from several goroutines.
type Fleet interface {
	// Revision changes, upwards, whenever a row does. It is cheap, and called fifty times a second.
	Revision() uint64
	// Rows calls take for every host whose row changed after the revision since, 0: for every host, and returns the revision
	// that this comes up to. It is called at most five times a second; take is quick and does not call the Fleet.
	Rows(since uint64, take func(Row)) (revision uint64)
	// Host is all about one host. It wraps [ErrNotFound] where nothing is known of it.
	Host(ctx context.Context, site, host string) (HostDetail, error)
}

// Incidents are the fleet's incidents: those that are open, and those that were closed within the last day. Its methods
// may be called from several goroutines, and what they return belongs to the caller.
type Incidents interface {
	// Revision changes whenever an incident does. It is cheap, and called fifty times a second.
	Revision() uint64
	// Groups has them all, in any order; the timelines may be left out.
	Groups() []fleet.Group
	// Group has one with its timeline. It wraps [ErrNotFound] where there is none.
	Group(ctx context.Context, id string) (fleet.Group, error)
}

// Hub is the hub itself: who leads, what waits, what was ordered. Status may be called from several goroutines.
type Hub interface {
	Status() Status
}

// Doer carries out what a user asks for, wherever the leading hub is. It returns when that has answered or ctx ends, and
// wraps one of the errors above where it refuses.
type Doer interface {
	Do(ctx context.Context, a Action) (Result, error)
}
