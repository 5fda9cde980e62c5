package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// MetricsSocket is the path in a metrics address of the form unix:/path, and whether it is one.
func MetricsSocket(listen string) (path string, ok bool) { return strings.CutPrefix(listen, "unix:") }

// listenMetrics opens host:port, or the unix socket of unix:/path, which only the control socket's users may open.
func listenMetrics(cfg MetricsConfig) (net.Listener, error) {
	if path, ok := MetricsSocket(cfg.Listen); ok {
		if err := checkPrivate("metrics.listen", filepath.Dir(path)); err != nil {
			return nil, err
		}
		return listenSocket("metrics.listen", path, cfg.Group)
	}
	// Plain TCP alone: the peer of a connection over many paths is not told by the four numbers of one path.
	plain := net.ListenConfig{}
	plain.SetMultipathTCP(false)
	l, err := plain.Listen(context.Background(), "tcp", cfg.Listen) // the context is for looking up a host's name
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("metrics.listen %s: another program uses this address; choose another port, or \"\" for no metrics: %w", cfg.Listen, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("metrics.listen %s: not permitted; choose a port above 1023: %w", cfg.Listen, err)
	case err != nil:
		return nil, fmt.Errorf("metrics.listen %s: %w", cfg.Listen, err)
	}
	return l, nil
}

// removeSocket takes the socket's file away. One that is not there any more needs no removing.
func (m *Metrics) removeSocket() {
	if path, ok := MetricsSocket(m.cfg.Listen); ok {
		_ = os.Remove(path)
	}
}
