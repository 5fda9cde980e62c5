package notify_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

func TestFollowFilters(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	b.setup()
	s := newStore(t)
	var c state.Change
	for i, id := range []notify.Identity{{Host: "hv1", Site: "gva"}, {Host: "hv2", Site: "gva"}, {Host: "hv1", Site: "zrh"}} {
		for _, typ := range []remediate.EventType{remediate.EventStepApplied, remediate.EventStepRefused, remediate.EventLimitChanged} {
			ev := remediate.Event{ID: fmt.Sprint(i, typ), Type: typ, Time: time.Now(), Data: remediate.Step{}}
			if typ == remediate.EventLimitChanged {
				ev.Data = remediate.LimitChange{}
			}
			out, err := notify.Encode(id, ev)
			if err != nil {
				t.Fatal(err)
			}
			c.Events = append(c.Events, out)
		}
	}
	if _, err := s.Commit(c); err != nil {
		t.Fatal(err)
	}
	publish(t, s, nil, b.url())
	drained(t, s)
	for _, tc := range []struct {
		filter notify.Filter
		want   int
	}{
		{notify.Filter{}, 9}, {notify.Filter{Site: "gva"}, 6}, {notify.Filter{Host: "hv1"}, 6}, {notify.Filter{Type: "step"}, 6},
		{notify.Filter{Type: "step.applied"}, 3}, {notify.Filter{Site: "zrh", Host: "hv1", Type: "limit.changed"}, 1},
	} {
		tc.filter.Since = time.Hour
		done := errors.New("done")
		n := 0
		err := notify.Events(t.Context(), notify.Dial{Servers: []string{b.url()}}, tc.filter, func([]byte) error {
			if n++; n == tc.want {
				return done
			}
			return nil
		})
		if !errors.Is(err, done) {
			t.Errorf("%+v: %d events, %v", tc.filter, n, err)
		}
	}
	for _, bad := range []notify.Filter{{Site: "a.b"}, {Site: ">"}, {Type: "step.>"}, {Type: "step."}, {Type: "*"}} {
		if err := notify.Events(t.Context(), notify.Dial{Servers: []string{b.url()}}, bad, nil); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestDialChecks(t *testing.T) {
	dir := t.TempDir()
	open, private := filepath.Join(dir, "open.creds"), filepath.Join(dir, "private.creds")
	for path, mode := range map[string]os.FileMode{open: 0o644, private: 0o640} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	good := []string{"nats://a:4222", "b:4222", "c", "tls://u:p@[::1]:4222", "wss://d"}
	for _, c := range []struct {
		name string
		dial notify.Dial
		want string
	}{
		{"all well", notify.Dial{Servers: good, Credentials: private}, ""},
		{"no server", notify.Dial{}, "nats.servers is empty"},
		{"scheme", notify.Dial{Servers: []string{"http://u:hunter2@a"}}, `scheme "http"`},
		{"no host", notify.Dial{Servers: []string{"nats://"}}, "no host"},
		{"unreadable", notify.Dial{Servers: []string{"nats://u:hunter2@a:%"}}, "cannot be read"},
		{"open secret", notify.Dial{Servers: good, Credentials: open}, "chmod 0600"},
		{"no secret", notify.Dial{Servers: good, Credentials: "/nonexistent"}, "no such file"},
		{"a folder", notify.Dial{Servers: good, Credentials: dir}, "not a regular file"},
		{"open key", notify.Dial{Servers: good, TLS: notify.TLS{Cert: private, Key: open}}, "nats.tls.key"},
		{"cert alone", notify.Dial{Servers: good, TLS: notify.TLS{Cert: private}}, "go together"},
		{"no ca", notify.Dial{Servers: good, TLS: notify.TLS{CA: "/nonexistent"}}, "nats.tls.ca"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.dial.Check()
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q and no password", err, c.want)
			}
		})
	}
}
