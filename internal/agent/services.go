package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// shareEvery is how often the host's state goes to the fleet's bucket, whose entries live three times as long.
const shareEvery = 30 * time.Second

// ControlSocket is where the control socket of a runtime_dir is.
func ControlSocket(runtimeDir string) string { return filepath.Join(runtimeDir, "control.sock") }

// services are what the agent answers on, opened before it says that it is ready.
type services struct {
	control *Control
	metrics *Metrics // nil: switched off
}

func (a *Agent) listen() (s services, err error) {
	s.control, err = ListenControl(ControlConfig{
		Path: ControlSocket(a.cfg.RuntimeDir), Group: a.cfg.ControlGroup, Controller: a, Log: a.cfg.Log,
	})
	if err != nil || a.cfg.MetricsListen == "" {
		return s, err
	}
	s.metrics, err = ListenMetrics(MetricsConfig{
		Listen: a.cfg.MetricsListen, Group: a.cfg.ControlGroup, Users: a.cfg.MetricsUsers,
		Status: a.Status, Ready: a.readyCh, Log: a.cfg.Log,
	})
	if err != nil {
		return s, errors.Join(err, s.control.Close())
	}
	a.cfg.Log.Info("metrics served", zap.String("address", s.metrics.Addr().String()))
	return s, nil
}

// run serves in the group until ctx is done.
func (s services) run(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { return s.control.Run(ctx) })
	if s.metrics != nil {
		g.Go(func() error { return s.metrics.Run(ctx) })
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
	tick := time.NewTicker(shareEvery)
	defer tick.Stop()
	for {
		s, err := a.Status(ctx)
		if err != nil {
			return nil // the agent is stopping
		}
		if body, err := json.Marshal(s.forFleet()); err != nil {
			a.cfg.Log.Error("state not encoded", zap.Error(err))
		} else {
			a.publisher.PutState(ctx, body)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
