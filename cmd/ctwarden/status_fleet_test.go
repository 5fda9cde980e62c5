package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// hostState is a host's state as its agent sends it.
func hostState(t *testing.T, site, host string, count uint64, change func(*agent.Status)) []byte {
	t.Helper()
	s := agent.Status{
		Running: true, Version: "1.2.3", Host: host, Site: site, Mode: remediate.ModeObserve, At: time.Now(),
		Limits: remediate.Limits{Max: 1000},
		NetNS:  []agent.NetNSStatus{{NetNS: remediate.NetNS{Init: true, Name: "init"}, Count: count}},
		Fleet:  &notify.FleetState{Rev: 7},
	}
	if change != nil {
		change(&s)
	}
	body, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// runOut is one command line with its output.
func runOut(ctx context.Context, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(ctx, args, stdio{in: strings.NewReader(""), out: &o, err: &e})
	return code, o.String(), e.String()
}

// TestStatusOfTheFleet reads the bucket of a real server.
func TestStatusOfTheFleet(t *testing.T) {
	nc, url := natsServer(t)
	code, out, errs := runOut(t.Context(), "status", "--fleet", "--server", url)
	if code != exitDone || !strings.HasPrefix(out, "0 hosts:") || !strings.Contains(out, "silent") {
		t.Fatalf("nobody there: %d, %s%s", code, out, errs)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), notify.HostsBucket)
	if err != nil {
		t.Fatal(err)
	}
	put := func(site, host string, body []byte) {
		t.Helper()
		if _, err := kv.Put(t.Context(), notify.HostKey(site, host), body); err != nil {
			t.Fatal(err)
		}
	}
	put("gva", "hv1", hostState(t, "gva", "hv1", 10, nil))
	put("gva", "hv1", hostState(t, "gva", "hv1", 970, func(s *agent.Status) {
		s.Incidents = []remediate.Incident{{Severity: remediate.SeverityWarning}, {Severity: remediate.SeverityCritical, Drops: 40, EarlyDrops: 2}}
	}))
	put("gva", "hv2.example.org", hostState(t, "gva", "hv2.example.org", 20, func(s *agent.Status) {
		s.Fleet.Hold, s.Mode = &remediate.Hold{By: "ann", Fleet: true}, remediate.ModeRemediate
		s.NetNS = append(s.NetNS, agent.NetNSStatus{Count: 500})
	}))
	put("zrh", "evil\x1b[2J", hostState(t, "zrh", "evil\x1b[2J", 300, func(s *agent.Status) { s.Held = &remediate.Hold{By: "bert"} }))
	put("zrh", "odd", []byte("noise"))
	put("zrh", "gone", hostState(t, "zrh", "gone", 999, nil))
	if err := kv.Delete(t.Context(), notify.HostKey("zrh", "gone")); err != nil {
		t.Fatal(err)
	}

	code, out, errs = runOut(t.Context(), "status", "--fleet", "--server", url)
	lines := strings.Split(out, "\n")
	if code != exitDone || len(lines) < 6 {
		t.Fatalf("%d, %s%s", code, out, errs)
	}
	for i, want := range []string{
		`SITE HOST FILL ENTRIES LIMIT MODE STATE REFUSED HEARD VERSION`,
		`gva hv1 97.0% 970 1000 observe REFUSING 42`,
		`gva hv2.example.org 50.0% 500 1000 remediate held by fleet 0`,
		`zrh evil?[2J 30.0% 300 1000 observe held 0`,
		`3 hosts: 1 refusing connections, 0 filling up, 2 held, 1 in mode remediate; 1 more states were not understood`,
	} {
		if got := strings.Join(strings.Fields(lines[i]), " "); !strings.HasPrefix(got, want) {
			t.Errorf("line %d: %q, want %q", i, got, want)
		}
	}

	code, out, errs = runOut(t.Context(), "status", "--fleet", "--server", url, "--site", "gva", "-o", "json")
	var got struct {
		Hosts   []fleetHost
		Summary fleetSummary
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitDone {
		t.Fatalf("%d, %v: %s%s", code, err, out, errs)
	}
	if len(got.Hosts) != 2 || got.Hosts[0].Host != "hv1" || got.Hosts[0].Rev != 7 || got.Summary.Hosts != 2 || !got.Hosts[1].HeldByFleet {
		t.Errorf("%+v", got)
	}
}

// TestStatusOfALargeFleet keeps rows and no states: 100,000 hosts of 3 kB each would be 300 MB.
func TestStatusOfALargeFleet(t *testing.T) {
	rows := make([]fleetHost, 100_000)
	for i := range rows {
		rows[i] = fleetHost{Site: "gva", Host: fmt.Sprintf("hv%06d.example.org", i), Count: uint64(i % 1000), Max: 1000, Mode: remediate.ModeObserve, At: time.Now()}
	}
	var b bytes.Buffer
	writeFleet(&b, rows, summary(rows), time.Now())
	if n := strings.Count(b.String(), "\n"); n != len(rows)+3 {
		t.Errorf("%d lines", n)
	}
	b.Reset()
	if err := writeFleetJSON(&b, rows, summary(rows)); err != nil {
		t.Fatal(err)
	}
	var got struct{ Hosts []fleetHost }
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || len(got.Hosts) != len(rows) {
		t.Errorf("%d hosts, %v", len(got.Hosts), err)
	}
}

func TestStatusOfTheFleetWrongUsage(t *testing.T) {
	for name, args := range map[string][]string{
		"a site without --fleet":     {"status", "--site", "gva"},
		"credentials without server": {"status", "--fleet", "--credentials", "x.creds"},
		"a site that is none":        {"status", "--fleet", "--server", "nats://127.0.0.1:1", "--site", "a.b"},
		"namespaces of all":          {"status", "--fleet", "--namespaces"},
	} {
		if code, out, errs := runOut(t.Context(), args...); code != exitUsage || out != "" || errs == "" {
			t.Errorf("%s: %d, %s%s", name, code, out, errs)
		}
	}
	if code, _, errs := runOut(t.Context(), "status", "--fleet", "--server", "nats://127.0.0.1:1"); code != exitUnavailable || !strings.Contains(errs, "not available") {
		t.Errorf("nobody there: %d, %s", code, errs)
	}
}
