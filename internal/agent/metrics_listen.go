package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
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
	l, err := net.Listen("tcp", cfg.Listen)
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

// guard lets only those through to a unix socket that the control socket serves; a TCP port is for everybody.
func (m *Metrics) guard(next http.Handler) (http.Handler, error) {
	if _, ok := MetricsSocket(m.cfg.Listen); !ok {
		return next, nil
	}
	gid, err := groupID(m.cfg.Group)
	if err != nil {
		return nil, err
	}
	who := access{own: uint32(os.Geteuid()), group: m.cfg.Group, gid: gid}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := who.check(peerOf(r.Context())); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}

// removeSocket takes the socket's file away. One that is not there any more needs no removing.
func (m *Metrics) removeSocket() {
	if path, ok := MetricsSocket(m.cfg.Listen); ok {
		_ = os.Remove(path)
	}
}
