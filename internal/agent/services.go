package agent

import (
	"context"
	"encoding/json"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

// shareEvery is how often the host's state goes to the fleet's bucket, whose entries live three times as long.
const shareEvery = 30 * time.Second

// ControlSocket is where the control socket of a runtime_dir is.
func ControlSocket(runtimeDir string) string { return filepath.Join(runtimeDir, "control.sock") }

func (a *Agent) serveControl(ctx context.Context) error {
	c, err := ListenControl(ControlConfig{
		Path: ControlSocket(a.cfg.RuntimeDir), Group: a.cfg.ControlGroup, Controller: a, Log: a.cfg.Log,
	})
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

func (a *Agent) serveMetrics(ctx context.Context) error {
	m, err := ListenMetrics(MetricsConfig{
		Listen: a.cfg.MetricsListen, Status: a.Status, Ready: a.readyCh, Log: a.cfg.Log,
	})
	if err != nil {
		return err
	}
	a.cfg.Log.Info("metrics served", zap.String("address", m.Addr().String()))
	return m.Run(ctx)
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
		if body, err := json.Marshal(s); err != nil {
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
