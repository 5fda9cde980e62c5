package agent

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"go.uber.org/zap"
)

// Reload takes over what may change while the agent runs: mode, policy and the incidents' times. It returns the names
// of the sections that differ and need a restart. It may be called from any goroutine.
func (a *Agent) Reload(ctx context.Context, cfg Config) (restart []string, err error) {
	restart, err = ask(ctx, a, func() []string { return a.reload(cfg) })
	if err != nil {
		return nil, fmt.Errorf("reload: %w", err)
	}
	return restart, nil
}

func (a *Agent) reload(cfg Config) []string {
	old := a.cfg
	a.cfg.Policy, a.cfg.CloseAfter, a.cfg.UpdateEvery = cfg.Policy, cfg.CloseAfter, cfg.UpdateEvery
	a.ownMode, a.cfg.AwaitFleet = cfg.Policy.Mode, cfg.AwaitFleet
	a.applyMode(time.Now())
	a.tracker.Configure(a.trackerConfig())
	a.hash.after = time.Time{} // the ceiling may be another
	a.readSoon()
	a.cfg.Log.Info("configuration reloaded", zap.String("mode", string(a.cfg.Policy.Mode)),
		zap.Uint64("ceiling", cfg.Policy.Ceiling))
	var restart []string
	for _, part := range []struct {
		name     string
		old, new any
	}{
		{"host", old.Host, cfg.Host}, {"site", old.Site, cfg.Site}, {"sources", old.Sources, cfg.Sources},
		{"nats", old.NATS, cfg.NATS}, {"oncall", old.Oncall, cfg.Oncall}, {"outbox", old.OutboxMax, cfg.OutboxMax},
		{"metrics", []any{old.MetricsListen, old.MetricsUsers}, []any{cfg.MetricsListen, cfg.MetricsUsers}}, {"state_dir", old.StateDir, cfg.StateDir},
		{"runtime_dir", old.RuntimeDir, cfg.RuntimeDir}, {"control_group", old.ControlGroup, cfg.ControlGroup},
		{"remediate.persist_file", old.PersistFile, cfg.PersistFile},
	} {
		if !reflect.DeepEqual(part.old, part.new) {
			restart = append(restart, part.name)
		}
	}
	return restart
}
