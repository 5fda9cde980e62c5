package agent

import (
	"context"
	"errors"
	"path/filepath"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

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
