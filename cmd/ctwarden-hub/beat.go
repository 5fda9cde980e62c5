package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
)

const (
	// beatEvery is how often the service manager hears of a hub, where it does not say how often it wants to.
	beatEvery = 10 * time.Second
	// startExtension is how much longer the service manager is to wait for a start, each time. The hub waits for NATS, and
	// what waits for the hub, as an upgrade or the boot does, waits startWithin and no longer: then the start is over, and
	// the status tells what it waits for.
	startExtension = time.Minute
	startWithin    = time.Minute
	// hangsAfter is how long a hub may do nothing before the service manager hears no more of it, and ends it. It waits for an
	// answer of the servers for half of that.
	hangsAfter = 20 * time.Second
)

// connect reaches NATS, or has it reached in the background where nobody answers yet. What time does not mend, such as a
// wrong password, is an error.
func (v *service) connect(link *connection, dial notify.Dial) (*nats.Conn, error) {
	nc, err := dial.Connect(link.options()...)
	problem := notify.ProblemOf(err)
	if errors.Is(err, nats.ErrNoServers) { // what the library makes of a connection that was refused
		problem = notify.ProblemUnreachable
	}
	passing := []notify.Problem{notify.ProblemUnreachable, notify.ProblemName, notify.ProblemClosed, notify.ProblemNoAnswer}
	if err == nil || !slices.Contains(passing, problem) {
		return nc, err
	}
	v.log.Warn("nats_waited_for", zap.String("problem", string(problem)), zap.Error(err))
	v.notify("STATUS=Waits for NATS")
	return dial.ConnectLater(link.options()...)
}

// beat tells the service manager that the hub goes on, for as long as it does: until it is ready that its start takes
// longer, and where there is a watchdog that it lives.
func (v *service) beat(ctx context.Context, h *hub.Hub) error {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("watchdog of the service manager: %w", err)
	}
	every := beatEvery
	if watchdog > 0 {
		every = min(every, watchdog/3)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	begun, started := time.Now(), false
	for {
		if h.Moves(hangsAfter) {
			switch {
			case started || v.ready.Load():
			case time.Since(begun) < startWithin:
				v.notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", startExtension.Microseconds()))
			default:
				started = true
				v.notify(daemon.SdNotifyReady + "\nSTATUS=Waits for NATS, or for a hub that leads")
			}
			if watchdog > 0 {
				v.notify(daemon.SdNotifyWatchdog)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
