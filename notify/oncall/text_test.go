package oncall

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/ctwarden/ctwarden/remediate"
)

var update = flag.Bool("update", false, "rewrite testdata/text")

// TestText compares the text of every sample with its file, which is there to be read: go test ./notify/oncall -run
// TestText -update writes them.
func TestText(t *testing.T) {
	for name, n := range samples() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "text", name+".txt")
			got := Text(n)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if bad := strings.IndexFunc(got, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); bad >= 0 {
				t.Errorf("a character at %d moves a terminal: %q", bad, got[bad:])
			}
			if title := Title(n); len([]rune(title)) > maxTitle || strings.Contains(title, "\n") {
				t.Errorf("title %q", title)
			}
		})
	}
}

func TestTitle(t *testing.T) {
	long := strings.Repeat("averylonglabel.", 16) + "example"
	base := Notification{Action: ActionTrigger, Severity: "critical", At: after(time.Minute), Since: began, Cause: CauseFull,
		Hosts: []string{"h1"}, HostsTotal: 1, Verified: true}
	for _, c := range []struct {
		name   string
		change func(n *Notification)
		want   string
	}{
		{"plain", func(*Notification) {}, "Critical: conntrack table full on h1 since 22:51 UTC"},
		{"a warning", func(n *Notification) { n.Severity, n.Cause = "warning", CauseFilling },
			"Warning: conntrack table filling on h1 since 22:51 UTC"},
		{"with its site", func(n *Notification) { n.Site = "gva" }, "Critical: conntrack table full on h1 at gva since 22:51 UTC"},
		{"many at sites", func(n *Notification) { n.HostsTotal, n.Sites = 40, map[string]int{"gva": 1, "zrh": 39} },
			"Critical: conntrack tables full on 40 hosts at 2 sites since 22:51 UTC"},
		{"many at one site", func(n *Notification) { n.HostsTotal, n.Sites = 40, map[string]int{"gva": 40} },
			"Critical: conntrack tables full on 40 hosts at gva since 22:51 UTC"},
		{"one refused", func(n *Notification) { n.Refused = 1 }, "Critical: conntrack table full on h1 since 22:51 UTC, 1 connection refused"},
		{"thrown out alone", func(n *Notification) { n.ThrownOut = 9 }, "Critical: conntrack table full on h1 since 22:51 UTC, 9 connections thrown out"},
		{"yesterday", func(n *Notification) { n.At = after(20 * time.Hour) }, "Critical: conntrack table full on h1 since 2026-01-15 22:51 UTC"},
		{"no host", func(n *Notification) { n.Hosts, n.HostsTotal = nil, 0 }, "Critical: conntrack table full on 0 hosts since 22:51 UTC"},
		{"one talker of many", func(n *Notification) {
			n.Top = []remediate.Talker{{Address: "192.0.2.7", Entries: 34}, {Address: "192.0.2.8", Entries: 33}, {Address: "192.0.2.9", Entries: 33}}
		}, "Critical: conntrack table full on h1 since 22:51 UTC; top source 192.0.2.7"},
		{"one talker of few listed", func(n *Notification) {
			n.Top, n.Entries = []remediate.Talker{{Address: "192.0.2.7", Entries: 40}, {Address: "192.0.2.8", Entries: 9}}, 65000
		}, "Critical: conntrack table full on h1 since 22:51 UTC"},
		{"one talker alone in a table", func(n *Notification) {
			n.Top, n.Entries = []remediate.Talker{{Address: "192.0.2.7", Entries: 22000}}, 65000
		}, "Critical: conntrack table full on h1 since 22:51 UTC; top source 192.0.2.7"},
		{"one talker alone in the list", func(n *Notification) {
			n.Top = []remediate.Talker{{Address: "192.0.2.7", Entries: 22000}}
		}, "Critical: conntrack table full on h1 since 22:51 UTC"},
		{"and what ctwarden did", func(n *Notification) { n.Refused, n.Brief = 3, "limit raised, it helped" },
			"Critical: conntrack table full on h1 since 22:51 UTC, 3 connections refused; limit raised, it helped"},
		{"no talker stands out", func(n *Notification) {
			n.Top = []remediate.Talker{{Address: "192.0.2.7", Entries: 32}, {Address: "192.0.2.8", Entries: 34}, {Address: "192.0.2.9", Entries: 34}}
		}, "Critical: conntrack table full on h1 since 22:51 UTC"},
		{"taken", func(n *Notification) { n.Action, n.By = ActionAcknowledge, "anna" }, "Taken by anna: conntrack table full on h1 since 22:51 UTC"},
		{"taken by nobody", func(n *Notification) { n.Action = ActionAcknowledge }, "Taken: conntrack table full on h1 since 22:51 UTC"},
		{"over", func(n *Notification) { n.Action, n.Until = ActionResolve, after(90*time.Minute) }, "Over: conntrack table full on h1 for 90 min"},
		{"given", func(n *Notification) { n.Title = "a title\nof two lines" }, "a title of two lines"},
		{"given, and a test", func(n *Notification) { n.Title, n.Test = "hello", true }, "TEST, nothing is wrong: hello"},
		{"another cause", func(n *Notification) { n.Cause = "disk" }, "Critical: disk on h1 since 22:51 UTC"},
		{"no cause", func(n *Notification) { n.Cause = "" }, "Critical: trouble on h1 since 22:51 UTC"},
		{"everything long", func(n *Notification) {
			n.Hosts, n.Site, n.Refused, n.Verified = []string{long}, strings.Repeat("s", 64), 1<<63, false
		}, "Critical: conntrack table full on averylonglabel.averylonglabel.averylonglabel.averylonglabel… at " +
			"sssssssssssssssssssssssssssssssssssssss… since 22:51 UTC…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := base
			c.change(&n)
			if got := Title(n); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestDid(t *testing.T) {
	at := after(time.Second)
	first, second, apart := step("a", 100, 200, at), step("b", 200, 400, at), step("c", 500, 600, at)
	const file = "/etc/sysctl.d/99-zz-ctwarden.conf"
	lower := step("d", 400, 200, at)
	lower.Reason = remediate.ReasonIneffective
	failed := step("e", 100, 200, at)
	notUndone := step("f", 200, 100, at)
	notUndone.Error = "read-only file system"
	failed.Error = "read-only file system"
	for _, c := range []struct {
		name  string
		steps []remediate.Event
		want  string
	}{
		{"nothing", nil, ""},
		{"too early", []remediate.Event{stepEvent(remediate.EventStepApplied, first)},
			"raised the limit from 100 to 200 at 22:51:04 UTC; too early to tell whether it helped"},
		{"helped", []remediate.Event{stepEvent(remediate.EventStepApplied, first), confirmedStep(first, remediate.OutcomeEffective, file, "")},
			"raised the limit from 100 to 200 at 22:51:04 UTC; it helped, and lasts over a reboot"},
		{"helped until the reboot", []remediate.Event{confirmedStep(first, remediate.OutcomeEffective, "", "remediate.persist is off")},
			"raised the limit from 100 to 200 at 22:51:04 UTC; it helped, until the next reboot (remediate.persist is off)"},
		{"did not help", []remediate.Event{stepEvent(remediate.EventStepApplied, first), confirmedStep(first, remediate.OutcomeIneffective, "", "")},
			"raised the limit from 100 to 200 at 22:51:04 UTC; it did not help"},
		{"not known", []remediate.Event{confirmedStep(first, "", "", "somebody else set the limit")},
			"raised the limit from 100 to 200 at 22:51:04 UTC; whether it helped is not known (somebody else set the limit)"},
		{"a chain is one raise", []remediate.Event{stepEvent(remediate.EventStepApplied, first), stepEvent(remediate.EventStepApplied, second),
			confirmedStep(second, remediate.OutcomeEffective, file, "")},
			"raised the limit from 100 to 400 in 2 steps at 22:51:04 UTC; it helped, and lasts over a reboot"},
		{"two raises", []remediate.Event{stepEvent(remediate.EventStepApplied, first), confirmedStep(first, remediate.OutcomeEffective, file, ""),
			stepEvent(remediate.EventStepApplied, apart)},
			"raised the limit from 100 to 200 at 22:51:04 UTC; it helped, and lasts over a reboot\n" +
				"raised the limit from 500 to 600 at 22:51:04 UTC; too early to tell whether it helped"},
		{"two raises whose names are not known", []remediate.Event{stepEvent(remediate.EventStepApplied, step("", 100, 200, at)),
			stepEvent(remediate.EventStepApplied, step("", 500, 600, at)), confirmedStep(step("", 500, 600, at), remediate.OutcomeIneffective, "", "")},
			"raised the limit from 100 to 200 at 22:51:04 UTC; too early to tell whether it helped\n" +
				"raised the limit from 500 to 600 at 22:51:04 UTC; it did not help"},
		{"refused", []remediate.Event{refusedStep(remediate.ReasonHeld, at)},
			"took no step: automatic writes are held; ctwarden unhold releases them"},
		{"refused for a reason of tomorrow", []remediate.Event{refusedStep("weather", at)}, "took no step: weather"},
		{"failed", []remediate.Event{stepEvent(remediate.EventStepFailed, failed)},
			"could not raise the limit from 100 to 200: read-only file system"},
		{"failed to undo", []remediate.Event{stepEvent(remediate.EventStepFailed, notUndone)},
			"could not take its step back, from 200 to 100: read-only file system"},
		{"raised, undone and refused, in that order", []remediate.Event{stepEvent(remediate.EventStepApplied, first),
			stepEvent(remediate.EventStepReverted, lower), refusedStep(remediate.ReasonIneffective, at)},
			"raised the limit from 100 to 200 at 22:51:04 UTC; too early to tell whether it helped\n" +
				"took its step back: the limit is 200 again, from 400: the last step did not help\n" +
				"took no step: the last step did not help"},
		{"other events", []remediate.Event{{Type: remediate.EventIncidentOpened, Data: fullIncident()}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(Did(c.steps), "\n"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestBrief(t *testing.T) {
	at := after(time.Second)
	s := step("a", 100, 200, at)
	applied, refused := stepEvent(remediate.EventStepApplied, s), refusedStep(remediate.ReasonAtCeiling, at)
	for _, c := range []struct {
		name  string
		steps []remediate.Event
		want  string
	}{
		{"nothing", nil, ""},
		{"other events", []remediate.Event{{Type: remediate.EventIncidentOpened, Data: fullIncident()}}, ""},
		{"too early", []remediate.Event{refused, applied}, "limit raised"},
		{"helped", []remediate.Event{applied, confirmedStep(s, remediate.OutcomeEffective, "", "")}, "limit raised, it helped"},
		{"did not help", []remediate.Event{applied, confirmedStep(s, remediate.OutcomeIneffective, "", "")}, "limit raised, it did not help"},
		{"not known", []remediate.Event{applied, confirmedStep(s, "", "", "")}, "limit raised"},
		{"refused after all", []remediate.Event{applied, refused}, "no step: at ceiling"},
		{"failed", []remediate.Event{stepEvent(remediate.EventStepFailed, s)}, "limit could not be raised"},
		{"taken back", []remediate.Event{applied, stepEvent(remediate.EventStepReverted, s)}, "step taken back"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Brief(c.steps); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestNextFor(t *testing.T) {
	const status = "ssh h1 sudo ctwarden status"
	const sources = "ssh h1 sudo conntrack -L | grep -oE '^[^=]*src=[^ ]+' | grep -oE '[^=]+$' | sort | uniq -c | sort -rn | head -5"
	for _, c := range []struct {
		name string
		s    Situation
		want string
	}{
		{"nothing is in the way", Situation{Cause: CauseFull, Host: "h1"}, status + "\n" + sources},
		{"observing", Situation{Cause: CauseFull, Host: "h1", Max: 100, Refused: remediate.ReasonObserveMode},
			status + "\nssh h1 sudo ctwarden raise --to 200\n" + sources},
		{"observing, no limit known", Situation{Cause: CauseFull, Host: "h1", Refused: remediate.ReasonObserveMode}, status + "\n" + sources},
		{"held", Situation{Cause: CauseFull, Host: "h1", Refused: remediate.ReasonHeld}, status + "\nssh h1 sudo ctwarden unhold\n" + sources},
		{"at the ceiling", Situation{Cause: CauseFull, Host: "h1", Refused: remediate.ReasonAtCeiling},
			status + "\nssh h1 free -m\nssh h1 grep -n -A3 ceiling /etc/ctwarden/ctwarden.yaml\n" + sources},
		{"somebody else", Situation{Cause: CauseFull, Host: "h1", Refused: remediate.ReasonForeignChange},
			status + "\nssh h1 sudo ctwarden doctor\n" + sources},
		{"did not help", Situation{Cause: CauseFull, Host: "h1", Max: 100, Refused: remediate.ReasonObserveMode, Ineffective: true}, status + "\n" + sources},
		{"chains", Situation{Cause: CauseChains, Host: "h1"}, status + "\nssh h1 sudo sysctl net.netfilter.nf_conntrack_buckets"},
		{"over", Situation{Cause: CauseFull, Host: "h1", Over: true}, status + "\nssh h1 sudo ctwarden doctor"},
		{"a silent host", Situation{Cause: CauseSilent, Host: "h1"}, "ssh h1 systemctl status ctwarden\nping -c 3 h1"},
		{"silent hosts", Situation{Cause: CauseSilent}, "ctwarden status --fleet"},
		{"the budget", Situation{Cause: CauseBudget}, "ctwarden status --fleet\nctwarden-hub unhold --budget"},
		{"a name that is a command", Situation{Cause: CauseFull, Host: "h1; reboot", Over: true}, "sudo ctwarden status\nsudo ctwarden doctor"},
		{"a name that is an option", Situation{Cause: CauseSilent, Host: "-oProxyCommand=reboot"}, "ctwarden status --fleet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(NextFor(c.s), "\n"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestFromIncident(t *testing.T) {
	past := fullIncident()
	past.Historical = true
	for _, c := range []struct {
		name string
		ev   remediate.Event
	}{
		{"an incident of the past", remediate.Event{ID: "e", Type: remediate.EventIncidentOpened, Time: began, Data: past}},
		{"a step", stepEvent(remediate.EventStepApplied, step("s", 1, 2, began))},
		{"an incident under another type", remediate.Event{ID: "e", Type: remediate.EventStepApplied, Time: began, Data: fullIncident()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if n, ok := FromIncident("s", "h", c.ev, nil); ok {
				t.Errorf("got %+v", n)
			}
		})
	}
	closed := fullIncident()
	at := after(time.Hour)
	closed.ClosedAt = &at
	for _, c := range []struct {
		ev     remediate.Event
		action Action
		until  time.Time
	}{
		{remediate.Event{ID: "e1", Type: remediate.EventIncidentOpened, Time: began, Data: fullIncident()}, ActionTrigger, time.Time{}},
		{remediate.Event{ID: "e2", Type: remediate.EventIncidentUpdated, Time: began, Data: fullIncident()}, ActionUpdate, time.Time{}},
		{remediate.Event{ID: "e3", Type: remediate.EventIncidentClosed, Time: after(2 * time.Hour), Data: closed}, ActionResolve, at},
	} {
		t.Run(string(c.ev.Type), func(t *testing.T) {
			n, ok := FromIncident("s", "h", c.ev, nil)
			if !ok || n.Action != c.action || !n.Until.Equal(c.until) || n.ID != c.ev.ID || n.Key != "inc-1" || n.HostsTotal != 1 ||
				n.Refused != 120 || n.ThrownOut != 37 || n.Cause != CauseFull || n.Severity != "critical" || !n.Since.Equal(began) {
				t.Errorf("got %v %+v", ok, n)
			}
			if err := n.check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBounded has a notification of a whole fleet: what a queue keeps of it is small.
func TestBounded(t *testing.T) {
	n := manyHosts()
	n.Labels, n.Sites, n.Top[0].Address = map[string]string{}, map[string]int{}, "two\nlines"
	for i := range 1000 {
		word := strings.Repeat("x", 5000) + string(rune('a'+i%26))
		n.Hosts, n.Facts, n.Did, n.Next = append(n.Hosts, word), append(n.Facts, word), append(n.Did, word), append(n.Next, word)
		n.Top = append(n.Top, remediate.Talker{Address: word, Entries: 1})
		n.Labels[word+strings.Repeat("y", i)], n.Sites[strings.Repeat("z", i)] = word, i
	}
	b := n.bounded()
	size := 0
	for _, list := range [][]string{b.Hosts, b.Facts, b.Did, b.Next} {
		for _, s := range list {
			size += len(s)
		}
	}
	if len(b.Hosts) != maxHosts || len(b.Did) != maxLines || len(b.Labels) > maxLabels || len(b.Sites) != maxHosts || size > 120_000 {
		t.Errorf("%d hosts, %d lines, %d labels, %d sites, %d bytes", len(b.Hosts), len(b.Did), len(b.Labels), len(b.Sites), size)
	}
	if b.Sites[strings.Repeat("z", 999)] != 999 {
		t.Error("the site with the most hosts is cut off")
	}
	if len(n.Hosts) != 1020 || n.Hosts[30] == b.Hosts[30] || n.Top[0].Address != "two\nlines" || b.Top[0].Address != "two lines" {
		t.Error("the original was changed")
	}
}
