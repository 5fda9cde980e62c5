package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// shareEvery is how often the host's state goes to the fleet's bucket, whose entries live three times as long. A
	// quarter more or less, at random, keeps a fleet that was started at once from sending at once.
	shareEvery = time.Minute
	// shareLeast is the least time between two, whatever changes.
	shareLeast = 2 * time.Second
	// shareAgain is the wait after one that did not get through, up to twice that.
	shareAgain = 5 * time.Second
)

// sharedAtOnce is what the fleet is told of as soon as it changes: what the hub goes by.
type sharedAtOnce struct {
	rev      uint64
	held     bool
	mode     remediate.Mode
	awaits   bool
	severity remediate.Severity
	open     int
}

// shareChanges has the state sent at once where it differs in what the hub goes by.
func (a *Agent) shareChanges(now time.Time) {
	is := sharedAtOnce{
		rev: a.fleet.heard.rev(), held: a.fleet.hold.Active(now), mode: a.cfg.Policy.Mode, awaits: a.awaits(),
	}
	if !a.tracker.Uneventful() {
		open := a.tracker.Open()
		is.open = len(open)
		for _, in := range open {
			if is.severity != remediate.SeverityCritical {
				is.severity = in.Severity
			}
		}
	}
	if is == a.fleet.shared {
		return
	}
	a.fleet.shared = is
	select {
	case a.sharing <- struct{}{}:
	default: // one that waits stands for this one too
	}
}

// The most that the fleet's bucket gets of a host: a server takes a megabyte at most, unless told otherwise, and a host
// can have thousands of namespaces.
const (
	sharedNetNS     = 1 + 100
	sharedIncidents = 100
)

// forFleet is the status without what would make it too large to publish.
func (s Status) forFleet() Status {
	s.NetNS = s.NetNS[:min(len(s.NetNS), sharedNetNS)]
	if over := len(s.Incidents) - sharedIncidents; over > 0 {
		s.Incidents = s.Incidents[:sharedIncidents]
		s.Notes = append(slices.Clip(s.Notes), fmt.Sprintf("%d more incidents are open; ctwarden status on the host shows all", over))
	}
	return s
}

// shareState puts the host's state into the fleet's bucket, so that a host that falls silent shows.
func (a *Agent) shareState(ctx context.Context) error {
	again := shareAgain
	for {
		s, err := a.Status(ctx)
		if err != nil {
			return nil // the agent is stopping
		}
		wait := shareEvery*3/4 + rand.N(shareEvery/2)
		body, err := json.Marshal(s.forFleet())
		if err != nil {
			a.cfg.Log.Error("state not encoded", zap.Error(err))
		} else if err := a.publisher.PutState(ctx, body); errors.Is(err, notify.ErrNotConnected) {
			wait = shareAgain + rand.N(shareAgain)
		} else if err != nil {
			// It may be over in a moment, and stands in the status until it is; a host that may not is not to ask for ever.
			wait = min(again+rand.N(again), wait)
			again = min(2*again, shareEvery)
		} else {
			again = shareAgain
		}
		if !a.untilShare(ctx, wait) {
			return nil
		}
	}
}

// untilShare waits until the state is to be sent again; it returns false where ctx is done before.
func (a *Agent) untilShare(ctx context.Context, wait time.Duration) bool {
	least, most := time.NewTimer(shareLeast), time.NewTimer(wait)
	defer least.Stop()
	defer most.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-least.C:
	}
	select {
	case <-ctx.Done():
		return false
	case <-a.sharing:
	case <-most.C:
	}
	return true
}
