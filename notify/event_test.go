package notify

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

func updating() bool { return flag.Lookup("update").Value.String() == "true" }

func TestMain(m *testing.M) {
	flag.Bool("update", false, "rewrite testdata/*.json")
	flag.Parse()
	os.Exit(m.Run())
}

var golden = Identity{Host: "hv042.gva.example", Site: "gva", Version: "0.1.0"}

// samples holds one event of every type, with distinct values in every field.
func samples() []remediate.Event {
	at := time.Date(2026, 1, 15, 22, 51, 3, 778502123, time.UTC)
	closed, ttf := at.Add(155*time.Second), 12.5
	initNS := remediate.NetNS{Inode: 4026531840, Name: "init", Owner: "host", Init: true}
	guest := remediate.NetNS{Inode: 4026532177, Name: "qrouter-7", Owner: "netns"}
	opened := remediate.Incident{
		ID: "inc-1", Severity: remediate.SeverityCritical, Verified: true, BootID: "0123456789abcdef0123456789abcdef",
		NetNS: initNS, OpenedAt: at, Matches: 12, Suppressed: 491,
		PerSource: map[string]int{"kmsg": 12, "syslog:/var/log/kern.log": 10}, Drops: 120, EarlyDrops: 37, RefusedInPause: 23, ChainDrops: 5, InsertFailed: 8,
		Count: 65530, PeakCount: 65536, Max: 65535, Buckets: 16384, InsertRate: 98000.5, TimeToFull: &ttf, Confidence: 0.75,
		Top:     []remediate.Talker{{Address: "192.0.2.7", Entries: 40123}},
		Verdict: "one guest holds 61% of the table", LimitHitBy: []remediate.NetNS{initNS, guest},
	}
	updated, over := opened, opened
	updated.Outcome = remediate.OutcomeEffective
	over.ClosedAt, over.TimeToFull, over.Confidence, over.Historical, over.Verified = &closed, nil, 0, true, false
	over.Host = "other-host"
	step := remediate.Step{
		ID: "step-9", IncidentID: "inc-1", At: at, From: 262144, To: 524288, Ceiling: 1048576,
		Reason: remediate.ReasonFull, Mode: remediate.ModeRemediate, NetNS: initNS, TookUS: 38,
		Keys: map[string]uint64{"net.netfilter.nf_conntrack_max": 524288, "net.nf_conntrack_max": 524288},
	}
	confirmed, refused, failed, reverted := step, step, step, step
	confirmed.Outcome, confirmed.Persisted = remediate.OutcomeEffective, "/etc/sysctl.d/99-zz-ctwarden.conf"
	refused.Reason, refused.Trigger, refused.Keys = remediate.ReasonObserveMode, remediate.ReasonPressure, nil
	refused.Mode, refused.NetNS = remediate.ModeObserve, guest
	failed.Error = "set net.netfilter.nf_conntrack_max: read-only file system; set it on the host"
	reverted.From, reverted.To, reverted.Reason = 524288, 262144, remediate.ReasonIneffective
	reverted.Outcome = remediate.OutcomeIneffective
	data := []struct {
		t remediate.EventType
		d any
	}{
		{remediate.EventIncidentOpened, opened},
		{remediate.EventIncidentUpdated, updated},
		{remediate.EventIncidentClosed, over},
		{remediate.EventStepApplied, step},
		{remediate.EventStepConfirmed, confirmed},
		{remediate.EventStepRefused, refused},
		{remediate.EventStepFailed, failed},
		{remediate.EventStepReverted, reverted},
		{remediate.EventMatchUnverified, remediate.Unverified{
			Count: 10000, First: at, Last: at.Add(time.Minute), PerSource: map[string]int{"journal": 10000},
			Text: "nf_conntrack: table full, dropping packet \x1b[31m<&>", NetNS: 4026532177,
		}},
		{remediate.EventSourceDegraded, remediate.SourceState{
			Source: remediate.SourceSyslog, Path: "/var/log/kern.log", Lost: 9, Problem: "permission denied",
			Remedy: "add the agent's user to group adm",
		}},
		{remediate.EventSourceRecovered, remediate.SourceState{Source: remediate.SourceKmsg}},
		{remediate.EventLimitChanged, remediate.LimitChange{
			Old: 524288, New: 131072, By: "kube-proxy", ByKind: remediate.WriterKubeProxy, Times: 2,
		}},
		{remediate.EventAgentStarted, remediate.AgentState{
			Version: "0.1.0", Kernel: "6.1.0-31-amd64", BootID: "0123456789abcdef0123456789abcdef",
			Mode:    remediate.ModeObserve,
			Sources: []remediate.Source{remediate.SourceKmsg, remediate.SourceJournal},
			Notes:   []string{"finished step step-8, which a crash had cut short"},
		}},
		{remediate.EventAgentStopped, remediate.AgentState{Version: "0.1.0", Mode: remediate.ModeRemediate}},
	}
	events := make([]remediate.Event, len(data))
	for i, d := range data {
		events[i] = remediate.Event{ID: "ev-" + string(d.t), Type: d.t, Time: at, Data: d.d}
	}
	return events
}

func TestEncodeGolden(t *testing.T) {
	for _, ev := range samples() {
		t.Run(string(ev.Type), func(t *testing.T) {
			out, err := Encode(golden, ev)
			if err != nil {
				t.Fatal(err)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, out.Body, "", "  "); err != nil {
				t.Fatal(err)
			}
			pretty.WriteByte('\n')
			path := filepath.Join("testdata", string(ev.Type)+".json")
			if updating() {
				if err := os.WriteFile(path, pretty.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(pretty.Bytes(), want) {
				t.Errorf("got\n%s\nwant\n%s", pretty.Bytes(), want)
			}
			wantSubject := "ctwarden.v1.ev.gva.hv042_2egva_2eexample." + string(ev.Type)
			if out.Subject != wantSubject || out.ID != ev.ID || out.Type != ev.Type || !out.Time.Equal(ev.Time) {
				t.Errorf("got subject %s id %s type %s time %s", out.Subject, out.ID, out.Type, out.Time)
			}
		})
	}
}

func TestEveryTypeHasASample(t *testing.T) {
	have := map[remediate.EventType]bool{}
	for _, ev := range samples() {
		have[ev.Type] = true
	}
	src, err := os.ReadFile("../remediate/event.go")
	if err != nil {
		t.Fatal(err)
	}
	n := strings.Count(string(src), " EventType = \"")
	if n != len(have) {
		t.Errorf("%d types are declared, %d have a sample", n, len(have))
	}
}

func TestDecodeGivesBackWhatWasEncoded(t *testing.T) {
	for _, ev := range samples() {
		out, err := Encode(golden, ev)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(out.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got.Identity != golden {
			t.Errorf("%s: got identity %+v", ev.Type, got.Identity)
		}
		again, err := Encode(golden, got.Event)
		if err != nil || !bytes.Equal(again.Body, out.Body) {
			t.Errorf("%s: encoded again: %v\n%s\n%s", ev.Type, err, again.Body, out.Body)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	limit := remediate.LimitChange{Old: 1, New: 2}
	good := remediate.Event{ID: "a", Type: remediate.EventLimitChanged, Time: at, Data: limit}
	with := func(f func(*remediate.Event)) remediate.Event { e := good; f(&e); return e }
	for _, c := range []struct {
		name string
		id   Identity
		ev   remediate.Event
		want string
	}{
		{"no host", Identity{Site: "s"}, good, "host name is empty"},
		{"no site", Identity{Host: "h"}, good, "site is empty"},
		{"site of two tokens", Identity{Host: "h", Site: "a.b"}, good, `site "a.b"`},
		{"site with a wildcard", Identity{Host: "h", Site: "*"}, good, `site "*"`},
		{"long site", Identity{Host: "h", Site: strings.Repeat("s", 65)}, good, "cannot be part"},
		{"long host", Identity{Host: strings.Repeat("h", 256), Site: "s"}, good, "too long"},
		{"no id", golden, with(func(e *remediate.Event) { e.ID = "" }), "no id"},
		{"no time", golden, with(func(e *remediate.Event) { e.Time = time.Time{} }), "not a date"},
		{"year 10000", golden, with(func(e *remediate.Event) { e.Time = at.AddDate(8000, 0, 0) }), "not a date"},
		{"no data", golden, with(func(e *remediate.Event) { e.Data = nil }), "no event's"},
		{"a pointer", golden, with(func(e *remediate.Event) { e.Data = &limit }), "no event's"},
		{"other data", golden, with(func(e *remediate.Event) { e.Data = remediate.Step{} }), "does not belong"},
		{"unknown type", golden, with(func(e *remediate.Event) { e.Type = "x.y" }), "does not belong"},
		{"not a number", golden, with(func(e *remediate.Event) {
			e.Type, e.Data = remediate.EventIncidentOpened, remediate.Incident{InsertRate: math.NaN()}
		}), "unsupported value"},
		{"huge", golden, with(func(e *remediate.Event) {
			e.Data = remediate.LimitChange{By: strings.Repeat("x", maxBody)}
		}), "more than an event may have"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Encode(c.id, c.ev); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := `{"specversion":"1.0","id":"a","source":"/ctwarden/s/h%2F1","type":"io.ctwarden.limit.changed",` +
		`"time":"2026-01-01T00:00:00Z","data":{"old":1,"new":2,"later":3}}`
	r, err := Decode([]byte(good))
	if err != nil || r.Host != "h/1" || r.Site != "s" {
		t.Fatalf("got %+v, %v", r, err)
	}
	newer := strings.Replace(good, "limit.changed", "guest.moved", 1)
	if r, err = Decode([]byte(newer)); err != nil || reflect.TypeOf(r.Event.Data) != reflect.TypeFor[json.RawMessage]() {
		t.Fatalf("unknown type: got %+v, %v", r, err)
	}
	for name, body := range map[string]string{
		"no JSON":     `{`,
		"version":     strings.Replace(good, `"1.0"`, `"2.0"`, 1),
		"no id":       strings.Replace(good, `"id":"a"`, `"id":""`, 1),
		"source":      strings.Replace(good, "/ctwarden/s/", "/other/s/", 1),
		"no host":     strings.Replace(good, "h%2F1", "", 1),
		"bad escape":  strings.Replace(good, "%2F", "%zz", 1),
		"type":        strings.Replace(good, "io.ctwarden", "io.other", 1),
		"time":        strings.Replace(good, "2026-01-01T", "", 1),
		"no data":     strings.Replace(good, `{"old":1,"new":2,"later":3}`, "null", 1),
		"data's type": strings.Replace(good, `"old":1`, `"old":"x"`, 1),
	} {
		if r, err := Decode([]byte(body)); err == nil {
			t.Errorf("%s: accepted as %+v", name, r)
		}
	}
}

func TestHostToken(t *testing.T) {
	for name, want := range map[string]string{
		"hv042": "hv042", "HV-1": "HV-1", "a.b": "a_2eb", "a_2eb": "a_5f2eb", "a*": "a_2a", "a>": "a_3e",
		"é": "_c3_a9", "a b\t": "a_20b_09", "\xff": "_ff",
	} {
		if got := HostToken(name); got != want {
			t.Errorf("HostToken(%q) = %q, want %q", name, got, want)
		}
	}
}

func FuzzHostToken(f *testing.F) {
	f.Add("a.b", "a_2eb")
	f.Fuzz(func(t *testing.T, a, b string) {
		if a != b && HostToken(a) == HostToken(b) {
			t.Errorf("%q and %q share the token %q", a, b, HostToken(a))
		}
		if strings.ContainsAny(HostToken(a), ".*> \t\r\n\x00") {
			t.Errorf("%q: %q is not one token", a, HostToken(a))
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, ev := range samples() {
		out, err := Encode(golden, ev)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(out.Body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, err := Decode(body); err == nil && strings.ContainsAny(Line(r), "\n\x1b\x00") {
			t.Errorf("control characters in %q", Line(r))
		}
	})
}

func TestEncodeCutsLimitHitBy(t *testing.T) {
	in := remediate.Incident{ID: "i", LimitHitBy: make([]remediate.NetNS, 5000)}
	out, err := Encode(golden, remediate.Event{ID: "a", Type: remediate.EventIncidentOpened, Time: time.Unix(1, 0), Data: in})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Decode(out.Body)
	if err != nil || len(r.Event.Data.(remediate.Incident).LimitHitBy) != 256 || len(in.LimitHitBy) != 5000 {
		t.Errorf("%v", err)
	}
}
