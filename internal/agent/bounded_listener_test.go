package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestBoundedListener: what comes beyond the bound is closed, and a place that is left is taken again.
func TestBoundedListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const most = 3
	l := bounded(inner, most)
	defer l.Close()
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var held []net.Conn
	for range most {
		dial()
		held = append(held, <-accepted)
	}
	if n, err := dial().Read(make([]byte, 1)); err == nil {
		t.Fatalf("the connection too many was not closed: %d bytes", n)
	}
	for range 2 { // a second Close frees nothing that is another's
		held[0].Close()
	}
	dial()
	if next := <-accepted; next == nil {
		t.Fatal("the place that was left is not taken")
	}
	if n, err := dial().Read(make([]byte, 1)); err == nil {
		t.Fatalf("the connection too many was not closed: %d bytes", n)
	}
}

// serveMetrics runs a metrics listener until the test ends.
func serveMetrics(t *testing.T, cfg MetricsConfig) *Metrics {
	t.Helper()
	ready := make(chan struct{})
	close(ready)
	cfg.Status, cfg.Ready, cfg.Log = statusFunc(busyStatus()), ready, zap.NewNop()
	m, err := ListenMetrics(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("metrics: %v", err)
		}
	})
	return m
}

// TestMetricsPaths: two paths are answered, by GET and HEAD alone.
func TestMetricsPaths(t *testing.T) {
	url := "http://" + serveMetrics(t, MetricsConfig{Listen: "127.0.0.1:0"}).Addr().String()
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/metrics", 200}, {"HEAD", "/metrics", 200}, {"GET", "/healthz", 200}, {"HEAD", "/healthz", 200},
		{"POST", "/metrics", 405}, {"PUT", "/healthz", 405}, {"DELETE", "/metrics", 405}, {"TRACE", "/metrics", 405},
		{"GET", "/", 404}, {"GET", "/debug/pprof/", 404}, {"GET", "/v1/status", 404}, {"POST", "/v1/raise", 404},
		{"GET", "/metrics/..%2f..%2fetc/passwd", 404}, {"GET", "/metricsx", 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, resp.StatusCode, c.want)
		}
	}
}

// TestMetricsSocket: on a unix socket the metrics are for whom the control socket is for.
func TestMetricsSocket(t *testing.T) {
	testhost.NeedRoot(t)
	for _, c := range []struct {
		name, group string
		opened      os.FileMode // 0: as the agent left it
		mode        os.FileMode
		nobody      string
	}{
		{"root alone", "", 0, 0o600, "permission denied"},
		{"barred by the peer check", "", 0o666, 0o666, "403"},
		{"barred outside the group", "daemon", 0o666, 0o666, "403"},
		{"let in with the group", "nogroup", 0, 0o660, "200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(testhost.PublicDir(t), "metrics.sock")
			serveMetrics(t, MetricsConfig{Listen: "unix:" + path, Group: c.group})
			if c.opened != 0 {
				if err := os.Chmod(path, c.opened); err != nil {
					t.Fatal(err)
				}
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != c.mode {
				t.Errorf("got %v, %v, want mode %v", info, err, c.mode)
			}
			if got := request(t, path, "GET", "/metrics", ""); got != 200 {
				t.Errorf("root got %d", got)
			}
			cmd := testhost.AsNobody(t, "TestMetricsPeerHelper", metricsHelperEnv+"="+path)
			var said strings.Builder
			cmd.Stderr = &said
			if err := cmd.Run(); err != nil || !strings.Contains(said.String(), c.nobody) {
				t.Errorf("nobody got %q, %v, want %q", &said, err, c.nobody)
			}
		})
	}
}

const metricsHelperEnv = "CTWARDEN_TEST_METRICS_SOCKET"

// TestMetricsPeerHelper is not a test: others run it in a process of another user, with a path, or an address of TCP.
func TestMetricsPeerHelper(t *testing.T) {
	address := os.Getenv(metricsHelperEnv)
	if address == "" {
		return
	}
	network := "unix"
	if !filepath.IsAbs(address) {
		network = "tcp"
	}
	// Keep-alive is left on: that a connection is given up is the server's doing.
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	resp, err := (&http.Client{Transport: tr}).Get("http://agent/metrics")
	if err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error())
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 400))
	_, _ = fmt.Fprintf(os.Stderr, "%s, closed %v: %s %v", resp.Status, resp.Close, body, err)
}
