package notify

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// FuzzEventRoundTrip: an event that was decoded is encoded again to one that says the same; nothing creeps in or gets
// lost on the way through a consumer.
func FuzzEventRoundTrip(f *testing.F) {
	for _, ev := range samples() {
		out, err := Encode(golden, ev)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(out.Body)
	}
	f.Add([]byte(`{"specversion":"1.0","id":"a","source":"/ctwarden/s/h%2f","type":"io.ctwarden.limit.changed","time":"2026-01-02T03:04:05.000000001+01:00","data":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Decode(body)
		if err != nil || anchorOf(r.Event.Type) == "" {
			return
		}
		out, err := Encode(r.Identity, r.Event)
		if err != nil {
			return // a site, a host or a time that no agent of ours has
		}
		again, err := Decode(out.Body)
		if err != nil || again.Identity != r.Identity || again.Event.ID != r.Event.ID || !again.Event.Time.Equal(r.Event.Time) {
			t.Fatalf("%s became\n%s: %v", body, out.Body, err)
		}
		same, err := Encode(again.Identity, again.Event)
		if err != nil || !reflect.DeepEqual(out, same) {
			t.Fatalf("%s became\n%s: %v", out.Body, same.Body, err)
		}
		if strings.Count(out.Subject, ".") < 5 || strings.ContainsAny(out.Subject, "*> \t\r\n") {
			t.Fatalf("subject %q", out.Subject)
		}
	})
}

// FuzzDenied: what a server says about permissions is passed on in one line, and nothing else is taken for it.
func FuzzDenied(f *testing.F) {
	for _, seed := range []string{
		`Permissions Violation for Publish to "ctwarden.v1.ev.default.web1.agent.started"`,
		`Permissions Violation for Subscription to "$KV.CTWARDEN_HOSTS.>" on connection [5]`,
		`Permissions Violation for `, ` on connection `, "\x1b[2J\n", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) {
		if Denied(errors.New(said)) != nil {
			t.Fatalf("%q is no violation", said)
		}
		err := Denied(fmt.Errorf("%w: %s", nats.ErrPermissionViolation, said))
		if err == nil || strings.ContainsAny(err.Error(), "\n\r\x1b\x00") {
			t.Fatalf("%q became %v", said, err)
		}
	})
}
