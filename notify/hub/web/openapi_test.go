package web

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

// description is what the tests need of openapi.yaml.
type description struct {
	schemas *jsonschema.Compiler
	Paths   map[string]map[string]struct {
		Responses map[string]struct {
			Ref     string `json:"$ref"`
			Content map[string]struct {
				Schema struct {
					Ref string `json:"$ref"`
				} `json:"schema"`
			} `json:"content"`
		} `json:"responses"`
	} `json:"paths"`
}

// readDescription reads it as it is served.
func readDescription(t *testing.T, text []byte) *description {
	t.Helper()
	var doc any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	d := &description{schemas: jsonschema.NewCompiler()}
	d.schemas.AssertFormat()
	if err := json.Unmarshal(asJSON, d); err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.schemas.AddResource("hub:openapi", value); err != nil {
		t.Fatal(err)
	}
	return d
}

// check holds a document against a schema of the description.
func (d *description) check(t *testing.T, ref string, body []byte) {
	t.Helper()
	schema, err := d.schemas.Compile("hub:openapi" + ref)
	if err != nil {
		t.Fatalf("schema %q: %v", ref, err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%v in %.300s", err, body)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%s: %v in %.600s", ref, err, body)
	}
}

// TestDescriptionIsTheAPI: the description has the very methods and paths that are served.
func TestDescriptionIsTheAPI(t *testing.T) {
	s := serve(t, newFakeHub(), Access{})
	d := readDescription(t, s.reader(t).get("/api/v1/openapi.yaml").want(t, http.StatusOK, "openapi: 3.1.0").body)
	var served, described []string
	for _, r := range s.api() {
		served = append(served, r.method+" "+r.path)
	}
	for path, methods := range d.Paths {
		for method := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("served\n%s\ndescribed\n%s", strings.Join(served, "\n"), strings.Join(described, "\n"))
	}
}

// TestAnswersAreAsDescribed: real answers have the described codes, types and forms.
func TestAnswersAreAsDescribed(t *testing.T) {
	hub := sceneHub()
	row := hub.fleet.row(0)
	s := serve(t, hub, Access{Users: []User{mira(t)}})
	r, stranger := s.reader(t), s.reader(t)
	d := readDescription(t, r.get("/api/v1/openapi.yaml").body)
	r.login()
	for _, c := range []struct {
		by           *reader
		method, path string // the path as described
		real         string // and as asked for
		body         any
		code         string
	}{
		{r, "get", "/api/v1/fleet", "/api/v1/fleet", nil, "200"},
		{r, "get", "/api/v1/changes", "/api/v1/changes?epoch=x&since=1", nil, "200"},
		{r, "get", "/api/v1/hosts", "/api/v1/hosts?limit=1000", nil, "200"},
		{r, "get", "/api/v1/hosts", "/api/v1/hosts?limit=x", nil, "400"},
		{r, "get", "/api/v1/hosts/{site}/{host}", "/api/v1/hosts/" + row.Site + "/" + row.Host, nil, "200"},
		{r, "get", "/api/v1/hosts/{site}/{host}", "/api/v1/hosts/x/y", nil, "404"},
		{r, "get", "/api/v1/incidents", "/api/v1/incidents", nil, "200"},
		{r, "get", "/api/v1/incidents/{id}", "/api/v1/incidents/g1", nil, "200"},
		{r, "get", "/api/v1/incidents/{id}", "/api/v1/incidents/g0", nil, "404"},
		{r, "get", "/api/v1/status", "/api/v1/status", nil, "200"},
		{r, "get", "/api/v1/session", "/api/v1/session", nil, "200"},
		{stranger, "get", "/api/v1/session", "/api/v1/session", nil, "200"},
		{stranger, "post", "/api/v1/session", "/api/v1/session", credentials{"x", "y"}, "401"},
		{stranger, "post", "/api/v1/hold", "/api/v1/hold", scope{All: true}, "401"},
		{r, "post", "/api/v1/incidents/{id}/acknowledge", "/api/v1/incidents/g1/acknowledge", struct{}{}, "200"},
		{r, "post", "/api/v1/incidents/{id}/resolve", "/api/v1/incidents/g1/resolve", struct{}{}, "200"},
		{r, "post", "/api/v1/silences", "/api/v1/silences", newSilence{Cause: "full", Seconds: 60}, "200"},
		{r, "delete", "/api/v1/silences/{id}", "/api/v1/silences/s1", nil, "200"},
		{r, "post", "/api/v1/hold", "/api/v1/hold", scope{Site: "gva"}, "200"},
		{r, "post", "/api/v1/hold", "/api/v1/hold", scope{}, "400"},
		{r, "post", "/api/v1/unhold", "/api/v1/unhold", scope{Site: "gva"}, "200"},
		{r, "get", "/api/v1/status", "/api/v1/status", nil, "200"}, // with the hold and the silence
		{r, "get", "/metrics", "/metrics", nil, "200"},
		{r, "get", "/healthz", "/healthz", nil, "200"},
		{r, "delete", "/api/v1/session", "/api/v1/session", nil, "200"},
	} {
		t.Run(c.method+" "+c.real+" "+c.code, func(t *testing.T) {
			answer := c.by.send(strings.ToUpper(c.method), c.real, c.body)
			if strconv.Itoa(answer.code) != c.code {
				t.Fatalf("got %d %.300s, want %s", answer.code, answer.body, c.code)
			}
			described, known := d.Paths[c.path][c.method].Responses[c.code]
			if !known {
				t.Fatalf("the code %s is not described", c.code)
			}
			kind, _, _ := strings.Cut(answer.header.Get("Content-Type"), ";")
			if described.Ref != "" {
				d.check(t, "#/components/schemas/Error", answer.body)
				return
			}
			content, known := described.Content[kind]
			if !known {
				t.Fatalf("the type %q is not described", kind)
			}
			if kind == "application/json" {
				d.check(t, content.Schema.Ref, answer.body)
			}
		})
	}
	_, packed := s.snapshot.get(s.board)
	if len(packed) == 0 {
		t.Error("no columns")
	}
	plain, _ := s.board.columns(0)
	head := plain[8 : 8+int(plain[4])+int(plain[5])<<8]
	d.check(t, "#/components/schemas/FleetHead", head)
	brief, err := json.Marshal(briefOf(hub.Status()))
	if err != nil {
		t.Fatal(err)
	}
	d.check(t, "#/components/schemas/Brief", brief)
}
