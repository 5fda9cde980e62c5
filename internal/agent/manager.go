package agent

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// managerWithin bounds how long the end of a stop waits for the service manager. Of a stop it need not hear: it sees the
// process end.
const managerWithin = 100 * time.Millisecond

// manager tells the service manager how the agent is, from a goroutine of its own. A manager that hangs, as one does with
// a stuck disk, takes some ten messages, and after those a write waits for as long as it hangs; the loop must not.
type manager struct {
	log  *zap.Logger
	bell chan struct{} // capacity 1: something waits

	mu      sync.Mutex // guards waiting
	waiting []string   // one of each kind at most, the oldest first
}

func newManager(log *zap.Logger) *manager {
	return &manager{log: log, bell: make(chan struct{}, 1)}
}

// tell has a message sent, such as READY=1. It waits for nothing. One of the same kind that waits still is not sent any
// more. Without a service manager it comes to nothing.
func (m *manager) tell(text string) {
	kind, _, _ := strings.Cut(text, "=")
	m.mu.Lock()
	m.waiting = slices.DeleteFunc(m.waiting, func(w string) bool { return strings.HasPrefix(w, kind+"=") })
	m.waiting = append(m.waiting, text)
	m.mu.Unlock()
	select {
	case m.bell <- struct{}{}:
	default:
	}
}

// run sends what is told until ctx is done and nothing waits.
func (m *manager) run(ctx context.Context) {
	for {
		m.sendAll()
		select {
		case <-m.bell:
		case <-ctx.Done():
			m.sendAll()
			return
		}
	}
}

func (m *manager) sendAll() {
	for text, ok := m.next(); ok; text, ok = m.next() {
		if _, err := daemon.SdNotify(false, text); err != nil {
			m.log.Warn("systemd not told", zap.String("message", text), zap.Error(err))
		}
	}
}

func (m *manager) next() (text string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiting) == 0 {
		return "", false
	}
	text, m.waiting = m.waiting[0], m.waiting[1:]
	return text, true
}

// manage runs the manager until the function that it returns is called, which waits managerWithin at most.
func (a *Agent) manage() (end func()) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	// Not in an errgroup, whose Wait would wait for a service manager that hangs.
	go func() {
		defer close(done)
		a.manager.run(ctx)
	}()
	return func() {
		stop()
		wait := time.NewTimer(managerWithin)
		defer wait.Stop()
		select {
		case <-done:
		case <-wait.C:
		}
	}
}

// watchdog tells systemd that the loop is alive.
type watchdog struct {
	manager *manager
	every   time.Duration // 0: nobody wants to know
	last    time.Time
}

func newWatchdog(m *manager) *watchdog {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		every = 0
	}
	return &watchdog{manager: m, every: every / 2}
}

func (w *watchdog) ping(now time.Time) {
	if w.every > 0 && now.Sub(w.last) >= w.every {
		w.last = now
		w.manager.tell(daemon.SdNotifyWatchdog)
	}
}
