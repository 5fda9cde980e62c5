package oncall

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The secrets of the tests; none may stand in an error.
const (
	testKey     = "0123456789abcdef0123456789abcdef"
	testSecret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	testSecret2 = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDAAAA"
	testPath    = "/services/T000/B000/verysecretpath"
	testWord    = "correct-horse-battery"
)

// request is one that a server of a test has heard.
type request struct {
	method, path string
	header       http.Header
	body         []byte
}

// receiver is a server that notes what it hears and answers as the test says.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	heard []request
}

func receive(t *testing.T, start func(*httptest.Server), answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Errorf("read the request: %v", err)
		}
		r.mu.Lock()
		r.heard = append(r.heard, request{req.Method, req.URL.Path, req.Header, body})
		r.mu.Unlock()
		answer(w, req)
	}))
	r.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail are part of the tests
	start(r.Server)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) requests() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.heard)
}

// only is the one request that was heard.
func (r *receiver) only(t *testing.T) request {
	t.Helper()
	heard := r.requests()
	if len(heard) != 1 {
		t.Fatalf("%d requests, want 1", len(heard))
	}
	return heard[0]
}

func plain(s *httptest.Server)     { s.Start() }
func encrypted(s *httptest.Server) { s.StartTLS() }

// answerWith answers a code and a body.
func answerWith(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

// secretIn writes a secret as an operator should.
func secretIn(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// kind is one of the senders over HTTP: how it is set up against a server and what that must answer.
type kind struct {
	name   string
	config func(t *testing.T, base string, tls TLSConfig) Config
	good   http.HandlerFunc
}

func kinds() []kind {
	return []kind{
		{"alertmanager", func(t *testing.T, base string, tls TLSConfig) Config {
			return Config{Alertmanager: &AlertmanagerConfig{URLs: []string{base}, Username: "me", Password: secretIn(t, testWord), TLS: tls}}
		}, answerWith(200, "")},
		{"pagerduty", func(t *testing.T, base string, tls TLSConfig) Config {
			return Config{PagerDuty: &PagerDutyConfig{URL: base + "/v2/enqueue", RoutingKey: secretIn(t, testKey), TLS: tls}}
		}, answerWith(202, `{"status":"success","message":"Event processed","dedup_key":"x"}`)},
		{"slack", func(t *testing.T, base string, tls TLSConfig) Config {
			return Config{Slack: &SlackConfig{URL: secretIn(t, base+testPath), TLS: tls}}
		}, answerWith(200, "ok")},
		{"webhook", func(t *testing.T, base string, tls TLSConfig) Config {
			return Config{Webhook: &WebhookConfig{URL: base + "/hook", Secret: secretIn(t, testSecret), TLS: tls}}
		}, answerWith(204, "")},
	}
}

func senderOf(t *testing.T, c Config) Sender {
	t.Helper()
	c.Name = "test"
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second // the machines that run tests are slow at times
	}
	s, err := New(c, Options{Program: "ctwarden-test/1"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantFailure checks what an error means, what it says, and that it tells no secret.
func wantFailure(t *testing.T, err error, again bool, after time.Duration, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	gotAfter, gotAgain := Retryable(err)
	if gotAgain != again || gotAfter != after || Delivered(err) {
		t.Errorf("retryable %v after %v, delivered %v; want %v after %v: %v", gotAgain, gotAfter, Delivered(err), again, after, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in: %v", word, err)
		}
	}
	for _, word := range []string{testKey, testSecret, testSecret2, "verysecretpath", testWord} {
		if strings.Contains(err.Error(), word) {
			t.Errorf("the secret %s is in: %v", word, err)
		}
	}
}
