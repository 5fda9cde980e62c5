package oncall

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// began is when all troubles of the samples begin.
var began = time.Date(2026, 1, 15, 22, 51, 3, 778502123, time.UTC)

func after(d time.Duration) time.Time { return began.Add(d) }

// oneHost is a page of one host whose table is full.
func oneHost() Notification {
	n, ok := FromIncident("gva", "hv042.gva.example", remediate.Event{
		ID: "ev-1", Type: remediate.EventIncidentOpened, Time: after(2 * time.Second), Data: fullIncident(),
	}, []remediate.Event{refusedStep(remediate.ReasonObserveMode, after(time.Second))})
	if !ok {
		panic("no page")
	}
	return n
}

func fullIncident() remediate.Incident {
	return remediate.Incident{
		ID: "inc-1", Severity: remediate.SeverityCritical, Verified: true, OpenedAt: began,
		NetNS: remediate.NetNS{Inode: 4026531840, Name: "init", Owner: "host", Init: true},
		Drops: 120, EarlyDrops: 37, Count: 65530, PeakCount: 65536, Max: 65536, Buckets: 16384,
		Top: []remediate.Talker{{Address: "192.0.2.7", Entries: 40123}, {Address: "2001:db8::7", Entries: 812}},
	}
}

func step(id string, from, to uint64, at time.Time) remediate.Step {
	return remediate.Step{
		ID: id, IncidentID: "inc-1", At: at, From: from, To: to, Ceiling: 524288, Reason: remediate.ReasonFull, Mode: remediate.ModeRemediate,
	}
}

func stepEvent(t remediate.EventType, s remediate.Step) remediate.Event {
	return remediate.Event{ID: "ev-" + string(t) + s.ID, Type: t, Time: s.At, Data: s}
}

func refusedStep(why remediate.Reason, at time.Time) remediate.Event {
	s := step("", 65536, 131072, at)
	s.Reason, s.Trigger = why, remediate.ReasonFull
	return stepEvent(remediate.EventStepRefused, s)
}

// confirmedStep is a step whose outcome is known.
func confirmedStep(s remediate.Step, outcome remediate.Outcome, persisted, err string) remediate.Event {
	s.Outcome, s.Persisted, s.Error = outcome, persisted, err
	return stepEvent(remediate.EventStepConfirmed, s)
}

// manyHosts is an update of a trouble of 500 hosts at two sites.
func manyHosts() Notification {
	n := Notification{
		ID: "page-2", Key: "group-1", Action: ActionUpdate, Severity: "critical", At: after(12 * time.Minute), Since: began,
		Cause: CauseFull, Labels: map[string]string{"rack": "b12"}, HostsTotal: 500, Sites: map[string]int{"gva": 480, "zrh": 20},
		Refused: 120345, ThrownOut: 3702,
		Did: []string{"raised the limit on 470 hosts; it helped on 468", "took no step on 30 hosts: mode is observe"}, Brief: "limit raised on 470, it helped on 468",
		Top:     []remediate.Talker{{Address: "192.0.2.7", Entries: 9_400_123}, {Address: "198.51.100.9", Entries: 4077}},
		Verdict: "192.0.2.7 is the top source on 498 of the hosts", Link: "https://hub.example.net/incident/group-1", Verified: true,
		Next: NextFor(Situation{Cause: CauseFull, Host: "hv001.gva.example", Max: 65536, Refused: remediate.ReasonObserveMode}),
	}
	for i := range 20 {
		n.Hosts = append(n.Hosts, fmt.Sprintf("hv%03d.gva.example", i+1))
	}
	return n
}

// samples are notifications of every kind, by name.
func samples() map[string]Notification {
	warning := fullIncident()
	warning.Severity, warning.Drops, warning.EarlyDrops, warning.Count, warning.PeakCount = remediate.SeverityWarning, 0, 0, 60000, 60000
	left := 41.7
	warning.TimeToFull, warning.Top = &left, nil
	filling, _ := FromIncident("gva", "hv042.gva.example",
		remediate.Event{ID: "ev-2", Type: remediate.EventIncidentOpened, Time: after(time.Second), Data: warning}, nil)

	helped := fullIncident()
	closed := after(4*time.Minute + 12*time.Second)
	helped.ClosedAt, helped.Outcome, helped.Max, helped.Count = &closed, remediate.OutcomeEffective, 524288, 41000
	first, second := step("s1", 65536, 262144, after(30*time.Millisecond)), step("s2", 262144, 524288, after(90*time.Millisecond))
	resolved, _ := FromIncident("gva", "hv042.gva.example",
		remediate.Event{ID: "ev-3", Type: remediate.EventIncidentClosed, Time: closed, Data: helped},
		[]remediate.Event{
			stepEvent(remediate.EventStepApplied, first), stepEvent(remediate.EventStepApplied, second),
			confirmedStep(second, remediate.OutcomeEffective, "/etc/sysctl.d/99-zz-ctwarden.conf", ""),
		})

	useless := fullIncident()
	useless.Outcome, useless.Verified, useless.NetNS = remediate.OutcomeIneffective, true, remediate.NetNS{Inode: 4026532177, Name: "qrouter-7", Owner: "netns"}
	ineffective, _ := FromIncident("gva", "hv042.gva.example",
		remediate.Event{ID: "ev-4", Type: remediate.EventIncidentUpdated, Time: after(5 * time.Second), Data: useless},
		[]remediate.Event{
			stepEvent(remediate.EventStepApplied, first),
			confirmedStep(first, remediate.OutcomeIneffective, "", "a rule of the firewall drops packets too"),
		})

	unverified := fullIncident()
	unverified.Verified, unverified.Drops, unverified.EarlyDrops, unverified.Top, unverified.Max = false, 0, 0, nil, 0
	hearsay, _ := FromIncident("gva", "hv042.gva.example",
		remediate.Event{ID: "ev-5", Type: remediate.EventIncidentOpened, Time: after(time.Second), Data: unverified},
		[]remediate.Event{refusedStep(remediate.ReasonUnverified, after(time.Second))})

	buckets := fullIncident()
	buckets.Drops, buckets.EarlyDrops, buckets.ChainDrops, buckets.Count, buckets.Top = 0, 0, 77, 40000, nil
	chains, _ := FromIncident("gva", "hv042.gva.example",
		remediate.Event{ID: "ev-6", Type: remediate.EventIncidentOpened, Time: after(time.Second), Data: buckets}, nil)

	taken := manyHosts()
	taken.ID, taken.Action, taken.By = "page-3", ActionAcknowledge, "anna"
	over := manyHosts().Resolved("page-4", after(3*time.Hour+7*time.Minute))
	over.Next = NextFor(Situation{Cause: CauseFull, Host: "hv001.gva.example", Over: true})
	return map[string]Notification{
		"one_host_full": oneHost(), "one_host_filling": filling, "one_host_resolved": resolved, "step_ineffective": ineffective,
		"unverified": hearsay, "chains": chains, "many_hosts": manyHosts(), "acknowledged": taken, "many_hosts_resolved": over,
		"silent_site": {
			ID: "page-5", Key: "group-2", Action: ActionTrigger, Severity: "critical", At: after(3 * time.Minute), Since: began,
			Cause: CauseSilent, Site: "zrh", Hosts: []string{"hv100.zrh.example", "hv101.zrh.example"}, HostsTotal: 2, Sites: map[string]int{"zrh": 2},
			Labels: map[string]string{"site": "zrh"},
			Next:   NextFor(Situation{Cause: CauseSilent, Host: "hv100.zrh.example"}),
		},
		"budget": {
			ID: "page-6", Key: "group-3", Action: ActionTrigger, Severity: "warning", At: after(time.Minute), Since: began,
			Cause: CauseBudget, Facts: []string{"40 steps in the last hour, of 40 allowed (fleet_steps_per_hour)"},
			Next: NextFor(Situation{Cause: CauseBudget}),
		},
		"test": TestPage("test-1", "ops", began),
		"hostile": {
			ID: "page-7\r\nX-Evil: 1", Key: "group <4>", Action: ActionTrigger, Severity: "critical", At: after(time.Minute), Since: began,
			Site: "gva", Cause: "größer als <b> & c\r\nBcc: eve@example.net", Hosts: []string{"evil\x1b[2Jhost; rm -rf /\r\n.\r\n"}, HostsTotal: 1,
			Labels: map[string]string{"a b": "<!channel>\n"}, Did: []string{"<script>alert(1)</script> & \u202e more", ".", ".leading dot"},
			Verdict: "größer als ½ & <!here>", Link: "https://hub.example.net/?a=1&b=<2>", Verified: true, Refused: 1,
		},
	}
}
