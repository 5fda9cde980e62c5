package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestStepsAllowed has a table begin to fill, as fast as max_insert_rate and read two milliseconds late, in the moment in
// which steps come to be allowed: it is read anew then, as often as one that a step can save has to be.
func TestStepsAllowed(t *testing.T) {
	reload := func(change func(cfg *Config)) func(a *Agent) {
		return func(a *Agent) {
			cfg := a.cfg
			change(&cfg)
			a.reload(cfg)
		}
	}
	for name, c := range map[string]struct{ before, allow func(a *Agent) }{
		"mode": {
			reload(func(cfg *Config) { cfg.Policy.Mode = remediate.ModeObserve }),
			reload(func(cfg *Config) { cfg.Policy.Mode = remediate.ModeRemediate }),
		},
		"ceiling": {
			reload(func(cfg *Config) { cfg.Policy.Ceiling = 65536 }),
			reload(func(cfg *Config) { cfg.Policy.Ceiling = 1 << 20 }),
		},
		"the fleet's mode": {
			reload(func(cfg *Config) { cfg.AwaitFleet = true }),
			func(a *Agent) {
				a.bookOrder(notify.Command{ID: "m1", Rev: 1, Verb: notify.CommandMode, Mode: remediate.ModeRemediate}, verdict{})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fillsWhenAllowed(t, c.before, c.allow) })
		})
	}
}

func fillsWhenAllowed(t *testing.T, before, allow func(a *Agent)) {
	f := newFragile(t)
	f.cfg.Policy = remediate.DefaultPolicy()
	f.cfg.Policy.Mode, f.cfg.Policy.Ceiling, f.cfg.Policy.MemoryShare = remediate.ModeRemediate, 1<<20, 0.5
	f.table(t, 0, 65536, 0)
	f.live(t, 0, func(a *Agent) {
		a.turn()
		a.ready = true
		before(a)
		for range 20 {
			elapse(a.nextSample(time.Now()))
			a.sample()
		}
		allow(a)
		for begin := time.Now(); f.limit(t) == "65536"; {
			elapse(a.nextSample(time.Now()) + 2*time.Millisecond)
			n := int(time.Since(begin).Seconds() * a.cfg.Policy.MaxInsertRate)
			if n >= 65536 {
				t.Fatalf("%d entries, and no step", n)
			}
			f.traffic(t, n, 0)
			a.sample()
		}
	})
}
