package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/zap"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzClient has something else than an agent answer on the socket.
func FuzzClient(f *testing.F) {
	for _, seed := range []string{
		`{"running":true,"host":"web1","limits":{"max":65536},"netns":[{"inode":1}],"sources":[{}]}`,
		`{"done":true,"step":{"from":1,"to":2}}`, `{"done":false,"reason":"held","text":"no"}`, `{"text":"\u001b[2J\n"}`,
		`null`, `[]`, `{"at":"x"}`, "", "\xff",
	} {
		for _, code := range []int{200, 400, 403, 409, 500, 503} {
			f.Add(code, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		c := &Client{path: "/s", http: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: code, Body: io.NopCloser(bytes.NewReader(body)), Header: http.Header{}}, nil
		})}}
		st, err := c.Status(t.Context())
		if err == nil != (code == http.StatusOK && json.Unmarshal(body, &Status{}) == nil) {
			t.Fatalf("%d %q: %+v, %v", code, body, st, err)
		}
		reply, err2 := c.Do(t.Context(), Command{Verb: VerbRaise, To: 5})
		if err2 == nil && code != http.StatusOK && code != http.StatusConflict {
			t.Fatalf("%d %q: %+v", code, body, reply)
		}
		for _, err := range []error{err, err2} {
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrNoAnswer) && !errors.Is(err, ErrNotPermitted) {
				t.Fatalf("%d %q: %v", code, body, err)
			}
			if strings.ContainsAny(err.Error(), "\x1b\x00") {
				t.Fatalf("%d %q: %q", code, body, err)
			}
		}
	})
}

// FuzzControlRequest: junk on the control socket changes nothing, and an order is one only at its path, by its method,
// from who may give it.
func FuzzControlRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /v1/status HTTP/1.1\r\nHost: agent\r\n\r\n", "HEAD /v1/status HTTP/1.0\r\n\r\n",
		"POST /v1/raise HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\n\r\n{\"to\":131072}", "POST /v1/hold HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /v1/revert HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST /v1/../v1/unhold HTTP/1.1\r\nHost: a\r\n\r\n", "POST //v1/unhold HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /v1/unhold%2f HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT /v1/raise HTTP/1.1\r\nHost: a\r\n\r\n", "GET * HTTP/1.1\r\n\r\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, permitted bool) {
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		ctl := &fakeController{reply: Reply{Done: true}}
		c := &Control{cfg: ControlConfig{Controller: ctl, Timeout: 1 << 40, Log: zap.NewNop()}, access: access{own: uint32(os.Geteuid()), gid: -1}}
		who := peer{uid: uint32(os.Geteuid())}
		if !permitted {
			who.uid = math.MaxUint32 - 7
		}
		rec := httptest.NewRecorder()
		c.handler().ServeHTTP(rec, req.WithContext(asPeer(req.Context(), who)))
		told := ctl.last()
		switch {
		case !permitted && (rec.Code != http.StatusForbidden || told != Command{}):
			t.Fatalf("%q: %d, told %+v", raw, rec.Code, told)
		case told != Command{} && (req.Method != http.MethodPost || req.URL.Path != "/v1/"+string(told.Verb) || rec.Code != http.StatusOK):
			t.Fatalf("%q: %d, told %+v", raw, rec.Code, told)
		case told == Command{} && rec.Code == http.StatusOK && req.URL.Path != "/v1/status":
			t.Fatalf("%q: %d, told nothing", raw, rec.Code)
		}
	})
}
