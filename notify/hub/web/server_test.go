package web

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest"
	"golang.org/x/crypto/bcrypt"
)

const mirasPassword = "correct horse"

// mira may log in.
func mira(t testing.TB) User {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(mirasPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return User{"mira", string(hash)}
}

// site is a hub's page that is served for real.
type site struct {
	*Handler
	hub *fakeHub
	url string
}

// serve starts one, and ends it with the test.
func serve(t testing.TB, hub *fakeHub, a Access) *site {
	t.Helper()
	h, err := New(Config{Fleet: &hub.fleet, Incidents: &hub.incidents, Hub: hub, Doer: hub, Access: a, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // one element: the end of Serve
	go func() { done <- Serve(ctx, l, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &site{h, hub, "http://" + l.Addr().String()}
}

// reader is a browser's part of a conversation, with cookies of its own.
type reader struct {
	t testing.TB
	*site
	client *http.Client
	header http.Header
}

func (s *site) reader(t testing.TB) *reader {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &reader{t, s, &http.Client{Jar: jar, Transport: &http.Transport{DisableCompression: true}}, http.Header{}}
}

// answer is a response that was read.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// send sends a request with a body as JSON; nil: none.
func (r *reader) send(method, path string, body any) answer {
	r.t.Helper()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			r.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, content)
	if err != nil {
		r.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, text}
}

func (r *reader) get(path string) answer { r.t.Helper(); return r.send("GET", path, nil) }

// want checks the code and a part of the body.
func (a answer) want(t testing.TB, code int, part string) answer {
	t.Helper()
	if a.code != code || !strings.Contains(string(a.body), part) {
		t.Errorf("got %d %.300s, want %d with %q", a.code, a.body, code, part)
	}
	return a
}

// into decodes the body.
func into[T any](t testing.TB, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v in %.300s", err, a.body)
	}
	return v
}

type credentials struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

func (r *reader) login() {
	r.t.Helper()
	r.send("POST", "/api/v1/session", credentials{"mira", mirasPassword}).want(r.t, http.StatusOK, `"user":"mira"`)
}
