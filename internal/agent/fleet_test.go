package agent

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

func TestFleetGetsTheBusiestOnly(t *testing.T) {
	var s Status
	for i := range 4000 {
		s.NetNS = append(s.NetNS, NetNSStatus{NetNS: remediate.NetNS{Inode: uint64(i), Name: strings.Repeat("n", 64)}})
		s.Incidents = append(s.Incidents, remediate.Incident{ID: strings.Repeat("i", 32)})
	}
	s.NetNSTotal = len(s.NetNS)
	out := s.forFleet()
	body, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > 256<<10 || len(out.NetNS) != sharedNetNS || out.NetNS[100].Inode != 100 || len(out.Incidents) != sharedIncidents {
		t.Errorf("%d bytes, %d namespaces, %d incidents", len(body), len(out.NetNS), len(out.Incidents))
	}
	if !strings.Contains(string(body), `"netns_total":4000`) || !strings.Contains(string(body), "3900 more incidents") {
		t.Error("the number of all is not told")
	}
	if len(s.NetNS) != 4000 || len(s.Notes) != 0 {
		t.Error("the status itself was changed")
	}
}

// TestStateOfAQuietHostIsSmall: the fleet's bucket keeps one of each host, of which there may be a hundred thousand.
func TestStateOfAQuietHostIsSmall(t *testing.T) {
	h := newScratch(t)
	a := h.open(t)
	a.sample()
	s := a.status()
	now := time.Now()
	s.NATS = NATSStatus{Configured: true, Connected: true, Server: "nats://nats1.example.net:4222", Since: now}
	s.Fleet = a.fleetStatus(now)
	for _, path := range []string{"", "", "/var/log/kern.log", "/var/log/syslog", "/var/log/messages"} {
		s.Sources = append(s.Sources, SourceStatus{
			Source: remediate.SourceSyslog, Path: path, Up: true, CaughtUp: true, Records: 123456, LastRecord: now, LagSeconds: 0.002,
		})
	}
	body, err := json.Marshal(s.forFleet())
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > 2300 {
		t.Errorf("%d bytes:\n%s", len(body), body)
	}
	t.Logf("%d bytes", len(body))
}
