package notify

import (
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

func TestLine(t *testing.T) {
	want := map[remediate.EventType]string{
		remediate.EventIncidentOpened:  "critical in init: 65530 of 65535 in use, 120 refused, 37 thrown out early, 23 of these in the pause after somebody else's change, 5 refused on long hash chains (raise nf_conntrack_buckets), 12 lines, full in 12 s, 192.0.2.7 holds 40123, 2 namespaces at the limit; one guest holds 61% of the table",
		remediate.EventIncidentUpdated: "critical in init: 65530 of 65535 in use, 120 refused, 37 thrown out early, 23 of these in the pause after somebody else's change, 5 refused on long hash chains (raise nf_conntrack_buckets), 12 lines, full in 12 s, 192.0.2.7 holds 40123, last step effective, 2 namespaces at the limit; one guest holds 61% of the table",
		remediate.EventIncidentClosed:  "12 lines of old records in init, from 2026-01-15 22:51:03Z, quiet after 2m35s",
		remediate.EventStepApplied:     "262144 → 524288 (full) in 38 µs, both keys read back",
		remediate.EventStepConfirmed:   "262144 → 524288 effective, persisted in /etc/sysctl.d/99-zz-ctwarden.conf",
		remediate.EventStepRefused:     "262144 → 524288 not done: observe_mode (mode is observe; set mode: remediate to let ctwarden raise the limit), for qrouter-7 (netns 4026532177)",
		remediate.EventStepFailed:      "262144 → 524288 (full) failed: set net.netfilter.nf_conntrack_max: read-only file system; set it on the host",
		remediate.EventStepReverted:    "524288 → 262144 undone (ineffective)",
		remediate.EventMatchUnverified: `10000 lines not borne out by the kernel's counters, first "nf_conntrack: table full, dropping packet \x1b[31m<&>"`,
		remediate.EventSourceDegraded:  "syslog /var/log/kern.log: permission denied, 9 records lost; add the agent's user to group adm",
		remediate.EventSourceRecovered: "kmsg: reading again",
		remediate.EventLimitChanged:    "524288 → 131072 by kube-proxy, 2 times in this boot",
		remediate.EventAgentStarted:    "version 0.1.0 on kernel 6.1.0-31-amd64, mode observe, reading kmsg, journal, finished step step-8, which a crash had cut short",
		remediate.EventAgentStopped:    "version 0.1.0 on kernel , mode remediate, reading nothing",
	}
	for _, ev := range samples() {
		if got := Summary(ev); got != want[ev.Type] {
			t.Errorf("%s: got\n%s\nwant\n%s", ev.Type, got, want[ev.Type])
		}
	}
	for _, ev := range samples() {
		if i, ok := ev.Data.(remediate.Incident); ok && i.Historical {
			i.Historical = false
			ev.Data = i
			const live = "critical in init, over after 2m35s: 65530 of 65535 in use, 65536 at the peak, 120 refused, " +
				"37 thrown out early, 23 of these in the pause after somebody else's change, 5 refused on long hash chains (raise nf_conntrack_buckets), 12 lines, 192.0.2.7 holds 40123, 2 namespaces at the limit, not verified; one guest holds 61% of the table"
			if got := Summary(ev); got != live {
				t.Errorf("live %s: got\n%s\nwant\n%s", ev.Type, got, live)
			}
		}
	}
	opened := time.Date(2026, 1, 15, 21, 50, 0, 0, time.UTC)
	at := time.Date(2026, 1, 15, 21, 51, 3, 0, time.UTC)
	unseen := remediate.Event{Type: remediate.EventIncidentClosed, Data: remediate.Incident{
		Severity: remediate.SeverityCritical, NetNS: remediate.NetNS{Inode: 4026532177}, Matches: 3, OpenedAt: opened, ClosedAt: &at}}
	const unseenLine = "critical in netns 4026532177, over after 1m3s: its table cannot be seen, 3 lines, not verified"
	if got := Summary(unseen); got != unseenLine {
		t.Errorf("got  %q\nwant %q", got, unseenLine)
	}
	r := Received{Identity: Identity{Host: "hv042\n\x1b[2J"}, Event: remediate.Event{
		Type: remediate.EventLimitChanged, Time: at, Data: remediate.LimitChange{Old: 1, New: 2},
	}}
	got, wantLine := line(r, time.FixedZone("", 3600)), "22:51:03 hv042??[2J limit.changed     1 → 2 by someone else"
	if got != wantLine {
		t.Errorf("got  %q\nwant %q", got, wantLine)
	}
}

func TestKeysText(t *testing.T) {
	for _, c := range []struct {
		name string
		keys map[string]uint64
		want string
	}{
		{"nothing", nil, "read back nothing"},
		{"one", map[string]uint64{"a": 9}, "one key read back"},
		{"both and the hash", map[string]uint64{"a": 9, "b": 9, "buckets": 3}, "both keys read back"},
		{"neither", map[string]uint64{"b": 2, "a": 1}, "read back a=1 b=2"},
	} {
		if got := keysText(remediate.Step{To: 9, Keys: c.keys}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
