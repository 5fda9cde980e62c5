package main

import (
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/remediate"
)

// busy is a status with all that may be wrong.
func busy() agent.Status {
	at := time.Date(2026, 3, 1, 3, 0, 0, 0, time.Local)
	left := 12.4
	init := remediate.NetNS{Inode: 4026531840, Name: "init", Owner: "host", Init: true}
	return agent.Status{
		Running: true, Version: "v1.2.3", Host: "web1", Site: "gva", Mode: remediate.ModeRemediate, Kernel: "6.1.0",
		StartedAt: at.Add(-90 * time.Minute), At: at,
		Held:   &remediate.Hold{Since: at.Add(-time.Hour), Until: at.Add(time.Hour), By: "ann", File: "/run/ctwarden/hold", UntilBoot: true},
		Limits: remediate.Limits{Max: 65536, OldMax: 65000, Buckets: 16384},
		Hash: &agent.HashStatus{Wanted: 131072, StallUS: 27_450, StallPerEntryNS: 450, Reason: remediate.HashHeld,
			Text: remediate.HashHeld.Text()},
		Memory: agent.MemoryStatus{Memory: remediate.Memory{Total: 48 << 30, Available: 30 << 30}, TableBytes: 20 << 20, WorstBytes: 24 << 20},
		NetNS: []agent.NetNSStatus{
			{NetNS: init, Count: 61000, Peak: 65536, Counters: remediate.Counters{Drop: 11, EarlyDrop: 12, ChainLength: 13}, InsertRate: 365, TimeToFull: &left},
			{NetNS: remediate.NetNS{Inode: 4026532177, Name: "blue"}, Count: 500, Peak: 500, Blind: true},
		},
		Sources: []agent.SourceStatus{
			{Source: remediate.SourceKmsg, Up: true, CaughtUp: true, Records: 100, Matches: 9, Lost: 3, LagSeconds: 0.002},
			{Source: remediate.SourceJournal, Problem: "may not be read", Remedy: "join the group systemd-journal"},
			{Source: remediate.SourceSyslog, Path: "/var/log/kern.log", Up: true, CaughtUp: true, Fault: "behind", Records: 7,
				LagSeconds: 61, LastRecord: at.Add(-90 * time.Second), Problem: "lines are missing", Remedy: "look at rsyslogd"},
			{Source: remediate.SourceSyslog, Path: "/var/log/messages", Unused: true, Problem: "it is not there"},
		},
		Incidents: []remediate.Incident{{Severity: remediate.SeverityCritical, Verified: true, NetNS: init, OpenedAt: at.Add(-time.Minute),
			Drops: 41, EarlyDrops: 42, RefusedInPause: 40, Matches: 43, PeakCount: 65536, Max: 65536, Outcome: remediate.OutcomeEffective,
			Top: []remediate.Talker{{Address: "192.0.2.7", Entries: 40123}, {Address: "2001:db8::7", Entries: 812}}}},
		IncidentsTotal: 7,
		Foreign: &remediate.ForeignStatus{At: at.Add(-10 * time.Minute), Steps: "automatic steps pause for 20s more", LimitChange: remediate.LimitChange{
			Old: 131072, New: 65536, By: "/etc/sysctl.d/50-db.conf:3", ByKind: remediate.WriterSysctl, Times: 1,
		}},
		Steps: []remediate.Step{{At: at.Add(-time.Minute), From: 32768, To: 65536, Reason: remediate.ReasonFull,
			Outcome: remediate.OutcomeEffective, Persisted: "/etc/sysctl.d/99-zz-ctwarden.conf"}},
		Outbox: agent.OutboxStatus{Enabled: true, Events: 51, Max: 100000, Dropped: 52},
		NATS:   agent.NATSStatus{Configured: true, Since: at.Add(-time.Minute), Error: "no route to host"},
		Notes:  []string{"the state file was damaged"},
	}
}

func TestStatusText(t *testing.T) {
	want := `web1: ctwarden v1.2.3, mode remediate, site gva, kernel 6.1.0, up 1h30m
HELD until 2026-03-01 04:00:00 by ann, since 2026-03-01 02:00:00: no automatic writes (/run/ctwarden/hold, in memory: the next boot ends it)
table    61000 of 65536 entries  93.1%, peak 65536
full in  12.4s at 365 entries/s
refused  11 packets, 12 entries thrown out early, 13 for long hash chains, since boot
others   1 more namespaces, the fullest blue with 500 (0.8%); see --namespaces
limit    net.netfilter.nf_conntrack_max = 65536
         net.nf_conntrack_max = 65000, WHICH DIFFERS
         set from 131072 to 65536 by /etc/sysctl.d/50-db.conf:3, which has this value, 2026-03-01 02:50:00: automatic steps pause for 20s more
         read-only for this process
buckets  16384 (4.0 entries each at the limit)
         131072 for the ceiling; a resize would stall packets for about 27ms; held: automatic writes are held; ctwarden unhold releases them
memory   20.0 MiB now, 24.0 MiB at worst: 0.05% of 48.0 GiB (30.0 GiB available)
sources  kmsg: up, 100 records, 9 matches, 3 lost, lag 2ms
         journal: DOWN, 0 records, 0 matches, 0 lost, lag 0s
           may not be read; join the group systemd-journal
         syslog /var/log/kern.log: BEHIND, 7 records, 0 matches, 0 lost, lag 1m1s, last 1m30s ago
           lines are missing; look at rsyslogd
         syslog /var/log/messages: not used: it is not there
nats     NOT CONNECTED since 2026-03-01 02:59:00: no route to host
outbox   51 of 100000 events wait, 52 dropped

1 open of 7 incidents since the start:
  2026-03-01 02:59:00  CRITICAL in init: 41 refused, 42 thrown out early (40 of both in the pause after somebody else's change), 43 matches, peak 65536 of 65536, the last step was effective
    most entries: 192.0.2.7 40123, 2001:db8::7 812

last steps:
  2026-03-01 02:59:00  32768 -> 65536  full, effective, persisted in /etc/sysctl.d/99-zz-ctwarden.conf
note: the state file was damaged
`
	var b strings.Builder
	if err := writeStatus(&b, busy()); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestStatusOfATableThatCannotBeSeen has no figures of what nobody has read.
func TestStatusOfATableThatCannotBeSeen(t *testing.T) {
	in := remediate.Incident{OpenedAt: busy().Incidents[0].OpenedAt, Severity: remediate.SeverityCritical, Matches: 3,
		NetNS: remediate.NetNS{Inode: 4026532177}}
	const want = "  2026-03-01 02:59:00  CRITICAL in netns 4026532177, not verified: its table cannot be seen, 3 matches\n"
	var b strings.Builder
	if incidentLine(&b, in); b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestNamespacesText(t *testing.T) {
	want := `NAMESPACE  INODE       OWNER  ENTRIES  FILL   PEAK   REFUSED  EARLY    NEW/s  FULL IN
init       4026531840  host   61000    93.1%  65536  11       12       365    12.4s at 365 entries/s
blue       4026532177  -      500      0.8%   500    unknown  unknown  0      -
note: the state file was damaged
`
	var b strings.Builder
	if err := writeNamespaces(&b, busy()); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
