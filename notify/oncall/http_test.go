package oncall

import (
	"context"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHTTPFailures has what all senders over HTTP do where the other end fails them.
func TestHTTPFailures(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			for _, c := range []struct {
				name   string
				answer http.HandlerFunc
				after  time.Duration
				want   string
			}{
				{"busy", answerWith(500, "rollup_error"), 0, "answered 500 Internal Server Error: rollup_error"},
				{"away", answerWith(503, ""), 0, "answered 503 Service Unavailable"},
				{"too fast", func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", "7")
					w.WriteHeader(429)
				}, 7 * time.Second, "answered 429 Too Many Requests"},
				{"away for a while", func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", "90")
					w.WriteHeader(503)
				}, 90 * time.Second, "answered 503"},
				{"moved", func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, "/login", http.StatusFound)
				}, 0, "answered 302 Found"},
				{"half an answer", func(w http.ResponseWriter, _ *http.Request) {
					conn, _, err := w.(http.Hijacker).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = conn.Write([]byte("HTTP/1.1 20"))
					_ = conn.Close()
				}, 0, "127.0.0.1:"},
				{"no answer at all", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, 0, "127.0.0.1:"},
			} {
				t.Run(c.name, func(t *testing.T) {
					r := receive(t, plain, c.answer)
					err := senderOf(t, k.config(t, r.URL, TLSConfig{})).Send(context.Background(), oneHost())
					wantFailure(t, err, true, c.after, c.want)
					r.only(t) // neither tried twice nor led elsewhere
				})
			}
		})
	}
}

// TestHTTPEndlessAnswer: a server that never comes to an end is cut off after the little that matters.
func TestHTTPEndlessAnswer(t *testing.T) {
	const most = 1 << 30
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			cutOff := make(chan int, 1) // has room for the one answer
			r := receive(t, plain, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(502)
				said := 0
				for said < most {
					n, err := w.Write(make([]byte, 64<<10))
					said += n
					if err != nil {
						break
					}
				}
				cutOff <- said
			})
			err := senderOf(t, k.config(t, r.URL, TLSConfig{})).Send(context.Background(), oneHost())
			wantFailure(t, err, true, 0, "answered 502")
			if said := <-cutOff; said >= 64<<20 {
				t.Errorf("%d bytes were taken", said)
			}
		})
	}
}

func TestHTTPGood(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			r := receive(t, plain, k.good)
			s := senderOf(t, k.config(t, r.URL, TLSConfig{}))
			for name, n := range samples() {
				if err := s.Send(context.Background(), n); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			heard := r.requests()
			if len(heard) != len(samples()) {
				t.Fatalf("%d requests", len(heard))
			}
			for _, q := range heard {
				if q.method != http.MethodPost || q.header.Get("Content-Type") != "application/json" || q.header.Get("User-Agent") != "ctwarden-test/1" {
					t.Errorf("%s with %v", q.method, q.header)
				}
			}
		})
	}
}

// TestHTTPSlow: a server that takes longer than the timeout, and one that never lets the caller in.
func TestHTTPSlow(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			released := make(chan struct{})
			r := receive(t, plain, func(http.ResponseWriter, *http.Request) { <-released })
			defer close(released)
			c := k.config(t, r.URL, TLSConfig{})
			c.Timeout = 200 * time.Millisecond
			err := senderOf(t, c).Send(context.Background(), oneHost())
			wantFailure(t, err, true, 0, "no answer within 200ms")
		})
	}
}

func TestHTTPDeadPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			err := senderOf(t, k.config(t, base, TLSConfig{})).Send(context.Background(), oneHost())
			wantFailure(t, err, true, 0, "connection refused")
		})
	}
}

// TestHTTPEnds: what is under way ends with its context.
func TestHTTPEnds(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			released := make(chan struct{})
			r := receive(t, plain, func(http.ResponseWriter, *http.Request) {
				cancel()
				<-released
			})
			defer close(released)
			err := senderOf(t, k.config(t, r.URL, TLSConfig{})).Send(ctx, oneHost())
			wantFailure(t, err, true, 0, "canceled")
		})
	}
}

// TestHTTPS: a certificate of an unknown authority is refused before anything is said; with the authority's file it is
// taken, also when that file is put there later; when it is replaced by another's, it is refused again.
func TestHTTPS(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			r := receive(t, encrypted, k.good)
			err := senderOf(t, k.config(t, r.URL, TLSConfig{})).Send(context.Background(), oneHost())
			wantFailure(t, err, true, 0, "certificate signed by unknown authority")
			ca := filepath.Join(t.TempDir(), "ca.pem")
			s := senderOf(t, k.config(t, r.URL, TLSConfig{CA: ca}))
			wantFailure(t, s.Send(context.Background(), oneHost()), true, 0, "ca.pem: no such file")
			if err := os.WriteFile(ca, []byte("nothing\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			wantFailure(t, s.Send(context.Background(), oneHost()), true, 0, "holds no certificate")
			if got := len(r.requests()); got != 0 {
				t.Errorf("%d requests got through", got)
			}
			block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
			if err := os.WriteFile(ca, block, 0o644); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := s.Send(context.Background(), oneHost()); err != nil {
					t.Error(err)
				}
			}
			_, other := authority(t)
			text, err := os.ReadFile(other)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(ca, text, 0o644); err != nil {
				t.Fatal(err)
			}
			wantFailure(t, s.Send(context.Background(), oneHost()), true, 0, "unknown authority")
			if got := len(r.requests()); got != 2 {
				t.Errorf("%d requests got through", got)
			}
		})
	}
}

// TestSecretsThatCannotBeUsed: what is wrong with the file is said and may pass; nothing is sent.
func TestSecretsThatCannotBeUsed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	open, empty := secretIn(t, testKey), secretIn(t, "")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	r := receive(t, plain, answerWith(200, "ok"))
	for _, c := range []struct {
		name   string
		config func(file string) Config
	}{
		{"alertmanager.password", func(f string) Config {
			return Config{Alertmanager: &AlertmanagerConfig{URLs: []string{r.URL}, Username: "me", Password: f}}
		}},
		{"alertmanager.bearer", func(f string) Config {
			return Config{Alertmanager: &AlertmanagerConfig{URLs: []string{r.URL}, Bearer: f}}
		}},
		{"pagerduty.routing_key", func(f string) Config { return Config{PagerDuty: &PagerDutyConfig{URL: r.URL, RoutingKey: f}} }},
		{"slack.url", func(f string) Config { return Config{Slack: &SlackConfig{URL: f}} }},
		{"webhook.secret", func(f string) Config { return Config{Webhook: &WebhookConfig{URL: r.URL, Secret: f}} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			for file, want := range map[string]string{
				missing: "no such file", open: "can be read by every user", empty: "is empty", "cred": "systemd gave none",
			} {
				wantFailure(t, senderOf(t, c.config(file)).Send(context.Background(), oneHost()), true, 0, c.name, want)
			}
		})
	}
	if got := len(r.requests()); got != 0 {
		t.Errorf("%d requests got through", got)
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 15, 22, 51, 3, 0, time.UTC)
	for _, c := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0}, {"0", 0}, {"30", 30 * time.Second}, {" 5 ", 5 * time.Second}, {"2147483647", 2147483647 * time.Second},
		{"2147483648", 0}, {"-1", 0}, {"1.5", 0}, {"soon", 0}, {"+3", 0}, {"1e3", 0},
		{"Thu, 15 Jan 2026 22:52:03 GMT", time.Minute}, {"Thursday, 15-Jan-26 22:52:03 GMT", time.Minute},
		{"Thu Jan 15 22:52:03 2026", time.Minute}, {"Thu, 15 Jan 2026 22:50:03 GMT", 0}, {"Thu, 32 Jan 2026 22:50:03 GMT", 0},
	} {
		if got := parseRetryAfter(c.value, now); got != c.want {
			t.Errorf("%q: got %v, want %v", c.value, got, c.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"30", "Thu, 15 Jan 2026 22:52:03 GMT", "-1", "9999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(seed)
	}
	now := time.Date(2026, 1, 15, 22, 51, 3, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		if got := parseRetryAfter(value, now); got < 0 {
			t.Errorf("%q: %v", value, got)
		}
	})
}

// FuzzAnswer has a server say anything over a connection: it is one outcome or another, in one line, and never takes long.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad\r\nContent-Length: 15\r\n\r\ninvalid_payload", "", "\x00\xff", "SSH-2.0-x\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "HTTP/1.1 301 M\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
		"HTTP/1.1 404 N\r\nContent-Length: 9\r\n\r\nno\r\n\x1b[2J\n", "HTTP/1.1 99999999999 X\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = conn.Read(make([]byte, 64<<10))
					_, _ = conn.Write(said)
					_ = conn.Close()
				}()
			}
		}()
		s, err := newSlack(SlackConfig{URL: secretIn(t, "http://"+l.Addr().String()+testPath)}, 5*time.Second, Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Send(context.Background(), oneHost())
		if err != nil && (strings.ContainsAny(err.Error(), "\n\x1b") || strings.Contains(err.Error(), "verysecretpath")) {
			t.Errorf("got %q", err)
		}
		if after, again := Retryable(err); again && after < 0 {
			t.Errorf("after %v", after)
		}
	})
}
