package notify

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// compileSchema compiles event.schema.json; closed, every object refuses what the schema does not describe.
func compileSchema(t *testing.T, closed bool) *jsonschema.Schema {
	t.Helper()
	raw, err := os.ReadFile("event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	root := doc.(map[string]any)
	if root["$id"] != schemaID {
		t.Fatalf("$id %v is not %s", root["$id"], schemaID)
	}
	if closed {
		testhost.CloseObjects(root["$defs"])
		root["additionalProperties"] = false
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(schemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(schemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(s *jsonschema.Schema, body string) error {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

func TestSchemaDescribesEveryField(t *testing.T) {
	s := compileSchema(t, true)
	for _, ev := range samples() {
		out, err := Encode(golden, ev)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(s, string(out.Body)); err != nil {
			t.Errorf("%s: %v", ev.Type, err)
		}
	}
}

func TestSchemaOfAnyone(t *testing.T) {
	s := compileSchema(t, false)
	bodies := map[string]string{}
	for _, ev := range samples() {
		out, err := Encode(golden, ev)
		if err != nil {
			t.Fatal(err)
		}
		bodies[string(ev.Type)] = string(out.Body)
	}
	for _, c := range []struct {
		name, event, old, new string
		ok                    bool
	}{
		{"a field of a later version", "limit.changed", `"old"`, `"pid":7,"old"`, true},
		{"a type of a later version", "limit.changed", "io.ctwarden.limit.changed", "io.ctwarden.guest.moved", true},
		{"no id", "limit.changed", `"id":"ev-limit.changed",`, ``, false},
		{"local time", "limit.changed", `123Z"`, `123+01:00"`, false},
		{"no date", "limit.changed", `2026-01-15T`, `2026-13-15T`, false},
		{"old version", "limit.changed", `"1.0"`, `"0.3"`, false},
		{"negative", "limit.changed", `"old":524288`, `"old":-1`, false},
		{"another's schema", "limit.changed", "#limit", "#agent", false},
		{"another's data", "limit.changed", "io.ctwarden.limit.changed", "io.ctwarden.step.applied", false},
		{"unknown severity", "incident.opened", `"critical"`, `"fatal"`, false},
		{"no severity", "incident.opened", `"severity":"critical",`, ``, false},
		{"no subject", "incident.opened", `"subject":"inc-1",`, ``, false},
		{"closed without a time", "incident.closed", `"closed_at"`, `"shut_at"`, false},
		{"unknown reason", "step.refused", `"observe_mode"`, `"because"`, false},
		{"key as text", "step.applied", `"net.nf_conntrack_max":524288`, `"net.nf_conntrack_max":"524288"`, false},
		{"unknown source", "source.degraded", `"syslog"`, `"dmesg"`, false},
		{"no line", "match.unverified", `"count":10000`, `"count":0`, false},
		{"unknown stream", "match.unverified", `{"journal"`, `{"audit"`, false},
		{"unknown mode", "agent.started", `"observe"`, `"watch"`, false},
		{"source with three parts", "agent.started", `/ctwarden/gva/`, `/ctwarden/gva/x/`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := strings.Replace(bodies[c.event], c.old, c.new, 1)
			if body == bodies[c.event] {
				t.Fatalf("%q is not in %s", c.old, body)
			}
			if err := validate(s, body); (err == nil) != c.ok {
				t.Errorf("valid: %v (%v), want %v", err == nil, err, c.ok)
			}
		})
	}
}
