package web

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

var fakeTop = []remediate.Talker{
	{Address: "203.0.113.77", Entries: 214_810}, {Address: "198.51.100.24", Entries: 31_207}, {Address: "198.51.100.9", Entries: 12_044},
	{Address: "2001:db8:4::17", Entries: 8_310}, {Address: "192.0.2.130", Entries: 4_119},
}

// fakeStatus is an agent's own status, with what the page shows of it.
const fakeStatus = `{"running":true,"version":"1.4.0","kernel":"6.12.9-amd64 #1 SMP","started_at":"2026-11-20T08:00:00Z",
"limits":{"nf_conntrack_max":131072,"net_nf_conntrack_max":131072,"buckets":65536},
"memory":{"total_bytes":51539607552,"table_bytes":38273024,"worst_bytes":209715200},
"netns":[{"inode":4026531840,"name":"init","count":118000,"peak":121000,"counters":{"drop":1874,"early_drop":220},"insert_rate":812.5,"time_to_full_s":310},
{"inode":4026532900,"name":"qrouter-71ab","count":8120,"peak":9300,"counters":{"drop":0,"early_drop":0},"insert_rate":41}],"netns_total":2,
"sources":[{"source":"kmsg","up":true,"caught_up":true,"records":48210,"matches":37,"lost":0,"lag_seconds":0.004},
{"source":"journal","up":true,"caught_up":true,"records":912044,"matches":37,"lost":0,"lag_seconds":0.21},
{"source":"syslog","path":"/var/log/kern.log","up":false,"caught_up":false,"problem":"permission denied","remedy":"add the user ctwarden to the group adm","records":0,"matches":0,"lost":12,"lag_seconds":0}],
"state":{"saved":true},"outbox":{"enabled":true,"events":0,"max":100000,"dropped":0},"nats":{"configured":true,"connected":true},
"notes":["kube-proxy sets nf_conntrack_max at its start and will lower this limit; set conntrack.maxPerCore: 0 in its configuration"]}`

var fakeSites = []string{"ams", "arn", "bru", "cdg", "cph", "dub", "fra", "gva", "hel", "iad", "lhr", "mad", "muc", "mxp", "nrt", "ord", "sin", "syd", "waw", "zrh"}

// fillScene puts hosts on the fleet as a real one has them: most of them quiet, a few near their limit, one site in trouble.
func fillScene(h *fakeHub, hosts int, now time.Time) {
	random := rand.New(rand.NewPCG(7, 7))
	rows := make([]Row, hosts)
	for i := range rows {
		rows[i] = sceneRow(random, i, hosts, now)
	}
	h.fleet.put(rows...)
	h.incidents.put(sceneGroups(now)...)
	h.set(func(s *Status) { sceneStatus(s, now) })
}

func sceneRow(random *rand.Rand, i, hosts int, now time.Time) Row {
	// Sites get smaller.
	site := int(float64(len(fakeSites)) * math.Pow(float64(i)/float64(hosts), 1.25))
	roles := []string{"hv", "k8s", "gw"}
	role := roles[random.IntN(len(roles))]
	r := Row{
		Site: fakeSites[site], Host: fmt.Sprintf("%s-%05d", role, i), Version: "1.4.0", Mode: remediate.ModeRemediate,
		Labels: []string{fmt.Sprintf("rack=r%02d", i/40%48), "role=" + role}, Max: 65536 << random.IntN(4), Seen: now.Add(-time.Duration(random.IntN(55)) * time.Second),
	}
	fill := math.Pow(random.Float64(), 2.6) * 0.86
	trouble := fakeSites[site] == "gva"
	switch dice := random.Float64(); {
	case trouble && dice < 0.012:
		fill, r.Severity, r.Refused = 0.985+0.015*random.Float64(), remediate.SeverityCritical, uint64(random.IntN(5000))
	case trouble && dice < 0.05, dice < 0.0012:
		fill = 0.9 + 0.07*random.Float64()
		r.Severity = remediate.SeverityWarning
	case dice > 0.9993:
		r.Silent, r.Seen = true, now.Add(-9*time.Minute)
	case dice > 0.999:
		r.Stopped = true
	case dice > 0.998:
		r.Held = true
	}
	if dice := random.Float64(); dice < 0.3 {
		r.Mode = remediate.ModeObserve
	}
	r.Count = uint64(fill * float64(r.Max))
	return r
}

func sceneGroups(now time.Time) []fleet.Group {
	ago := func(d time.Duration) time.Time { return now.Add(-d).UTC().Truncate(time.Second) }
	return []fleet.Group{
		{
			ID: "g1", Kind: fleet.KindConntrack, Cause: oncall.CauseFull, By: map[string]string{"site": "gva"}, Talker: "203.0.113.77",
			Severity: remediate.SeverityCritical, OpenedAt: ago(25 * time.Minute), ChangedAt: ago(40 * time.Second), Hosts: 47, OpenHosts: 41, Incidents: 52,
			Sites: map[string]int{"gva": 47}, Sample: []string{"hv-41207", "k8s-41944", "gw-42108"}, Drops: 48_212, EarlyDrops: 3_120,
			Steps: fleet.StepSummary{Applied: 61, Effective: 52, Ineffective: 2, Refused: map[remediate.Reason]int{remediate.ReasonAtCeiling: 3}},
			Top:   fakeTop, Pages: []fleet.PageState{
				{ID: "p1", To: "pagerduty", Route: "critical", Action: oncall.ActionTrigger, Status: fleet.PageDelivered, At: ago(24 * time.Minute), Attempts: 1},
				{ID: "p2", To: "slack-netops", Route: "critical", Action: oncall.ActionUpdate, Status: fleet.PageDelivered, At: ago(19 * time.Minute), Attempts: 3},
				{ID: "p3", To: "mail-managers", Route: "escalate", Action: oncall.ActionTrigger, Status: fleet.PageDead, At: ago(9 * time.Minute), Attempts: 14, Err: "550 no such mailbox"},
			},
			Timeline: []fleet.Entry{
				{At: ago(25 * time.Minute), Text: "hv-41207 refuses connections", Site: "gva", Host: "hv-41207", Key: true},
				{At: ago(25*time.Minute - 3*time.Second), Text: "hv-41207 raised its limit 65,536 → 131,072", Site: "gva", Host: "hv-41207"},
				{At: ago(24 * time.Minute), Text: "told pagerduty: 12 hosts at gva refuse connections", Key: true},
				{At: ago(22 * time.Minute), Text: "the same address leads on 31 hosts: 203.0.113.77", Key: true},
				{At: ago(19 * time.Minute), Text: "told slack-netops: 40 hosts", Key: true},
				{At: ago(9 * time.Minute), Text: "not acknowledged for 15 minutes: told mail-managers", Key: true},
				{At: ago(40 * time.Second), Text: "the step of gw-42108 did not help", Site: "gva", Host: "gw-42108"},
			},
		},
		{
			ID: "g2", Kind: fleet.KindConntrack, Cause: oncall.CauseFilling, Severity: remediate.SeverityWarning, OpenedAt: ago(7 * time.Minute), ChangedAt: ago(2 * time.Minute),
			By: map[string]string{"site": "fra"}, Hosts: 1, OpenHosts: 1, Incidents: 1, Sites: map[string]int{"fra": 1}, Sample: []string{"k8s-34410"}, AckBy: "mira", AckAt: ago(3 * time.Minute),
		},
		{
			ID: "g3", Kind: fleet.KindSilent, Cause: oncall.CauseSilent, Severity: remediate.SeverityCritical, OpenedAt: ago(11 * time.Minute), ChangedAt: ago(11 * time.Minute),
			By: map[string]string{"site": "nrt"}, Hosts: 214, OpenHosts: 214, Sites: map[string]int{"nrt": 214}, Sample: []string{"hv-70012"},
		},
		{
			ID: "g4", Kind: fleet.KindConntrack, Cause: oncall.CauseFull, Severity: remediate.SeverityCritical, OpenedAt: ago(5 * time.Hour), ChangedAt: ago(4 * time.Hour), ClosedAt: ago(4 * time.Hour),
			By: map[string]string{"site": "iad"}, Hosts: 6, Incidents: 8, Sites: map[string]int{"iad": 6}, Drops: 912, AckBy: "jonas", AckAt: ago(290 * time.Minute),
			Steps: fleet.StepSummary{Applied: 6, Effective: 6},
		},
	}
}

func sceneStatus(s *Status, now time.Time) {
	s.Since, s.Events, s.Pending = now.Add(-30*time.Hour), 1_204_118, 3
	s.Senders = []Sender{
		{Name: "pagerduty", Kind: "pagerduty", Delivered: 41, At: now.Add(-24 * time.Minute)},
		{Name: "slack-netops", Kind: "slack", Delivered: 129, Retried: 6, Waiting: 1, At: now.Add(-time.Minute), Error: "429 Too Many Requests, again in 30 s"},
		{Name: "mail-managers", Kind: "mail", Delivered: 3, Retried: 13, Dead: 1, At: now.Add(-9 * time.Minute), Error: "550 no such mailbox"},
	}
	s.DeadLetters = []DeadLetter{{
		ID: "p3", Sender: "mail-managers", Incident: "g1", Title: "47 hosts at gva refuse connections", Action: "trigger", At: now.Add(-9 * time.Minute),
		Attempts: 14, Error: "550 no such mailbox",
	}}
	s.Silences = []fleet.Silence{{ID: "s0", Site: "syd", Host: "k8s-*", From: now.Add(-time.Hour), Until: now.Add(3 * time.Hour), By: "mira", Comment: "kernel upgrade"}}
	s.Holds = []Hold{{Site: "zrh", Since: now.Add(-2 * time.Hour), Until: now.Add(time.Hour), By: "jonas", Why: "switch replacement", Reached: 840, Done: 836, Refused: 1, Missing: 3}}
	s.Rollout = Rollout{Matchers: []string{"site gva", "label role=k8s"}, Hosts: 38_004, Remediating: 37_411, Unwilling: 512}
	s.Budget = Budget{PerHour: 500, Used: 61}
}
