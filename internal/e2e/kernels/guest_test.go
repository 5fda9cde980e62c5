package kernels

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/testvm"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// guest is a machine with the kernel under test. Its console has the agent's log.
type guest struct{ *testvm.Machine }

func boot(t *testing.T, image testvm.Image) guest {
	t.Helper()
	return guest{testvm.Boot(t, image, memory)}
}

// settings are what the kernel has; all zero where there is no table.
type settings struct{ max, oldMax, buckets uint64 }

func (g guest) settings(t *testing.T) settings {
	t.Helper()
	text := g.Run(t, "cd /proc/sys/net; cat netfilter/nf_conntrack_max nf_conntrack_max netfilter/nf_conntrack_buckets; cd /")
	var s settings
	if _, err := fmt.Sscan(text, &s.max, &s.oldMax, &s.buckets); err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	return s
}

// startAgent starts the agent and waits until it is ready.
func (g guest) startAgent(t *testing.T) {
	t.Helper()
	from := len(g.Console.Since(0))
	g.Run(t, "ctwarden run >/dev/console 2>&1 & agent=$!")
	g.Says(t, from, "agent ready")
}

func (g guest) stopAgent(t *testing.T) {
	t.Helper()
	g.Run(t, "kill $agent; wait $agent")
}

// startBeforeModule starts the agent where there is no table yet. It says so once in its log, with what to do, and for as
// long in its status.
func (g guest) startBeforeModule(t *testing.T) {
	t.Helper()
	g.Run(t, "test ! -e /proc/sys/net/netfilter/nf_conntrack_max")
	from := len(g.Console.Since(0))
	g.startAgent(t)
	g.Says(t, from, problem)
	g.Run(t, "sleep 3") // it looks every second, and is not to say it each time
	told := 0
	for _, l := range g.Console.Since(from) {
		if strings.Contains(l.Text, problem) {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d times in the log: %s", told, problem)
	}
	st := g.status(t)
	notes := strings.Join(st.Notes, "\n")
	if !strings.Contains(notes, notLoaded) || !strings.Contains(notes, "modprobe nf_conntrack") || st.Limits.Max != 0 {
		t.Errorf("limit %d, notes %q; want none, and that %s", st.Limits.Max, notes, notLoaded)
	}
}

// load has a command bring the module in, and returns what the kernel begins with. The agent stands still meanwhile, or
// it might have set the limit before that is read. Then it finds the table.
func (g guest) load(t *testing.T, command string) settings {
	t.Helper()
	from := len(g.Console.Since(0))
	g.Run(t, "kill -STOP $agent")
	g.Run(t, command)
	s := g.settings(t)
	g.Run(t, "kill -CONT $agent")
	g.Says(t, from, problemGone)
	return s
}

// wantTable waits until the agent has found the table with a limit, and no longer says that there is none.
func (g guest) wantTable(t *testing.T, limit uint64) {
	t.Helper()
	g.Until(t, fmt.Sprintf("the agent sees a limit of %d", limit), func() bool {
		st := g.status(t)
		return st.Limits.Max == limit && !strings.Contains(strings.Join(st.Notes, "\n"), notLoaded)
	})
}

func (g guest) status(t *testing.T) agent.Status {
	t.Helper()
	text := g.Run(t, "ctwarden status -o json 2>/dev/null")
	var st agent.Status
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if !st.Running {
		t.Fatalf("no agent answers: %q", st.Notes)
	}
	return st
}

// refuse has the kernel refuse connections: the flood makes more than the table takes, in a namespace of its own, whose
// number is returned, or the first. The agent stands still meanwhile, as on a host that is too busy, or it would see them
// come and step before.
func (g guest) refuse(t *testing.T, flags string, limit uint64) (inode uint64) {
	t.Helper()
	g.Run(t, "kill -STOP $agent")
	g.Run(t, fmt.Sprintf("flood %s -kind established -flows %d -stay 1h >/tmp/flood 2>&1 & flood=$!", flags, limit+1000))
	g.Until(t, "the flood is over", func() bool {
		out, code := g.Try(t, "grep refused /tmp/flood || kill -0 $flood")
		if code != 0 {
			t.Fatalf("the flood failed: %s", g.Run(t, "cat /tmp/flood"))
		}
		return strings.Contains(out, "refused")
	})
	g.Run(t, "kill -CONT $agent")
	said := g.Run(t, "cat /tmp/flood")
	m := regexp.MustCompile(`inode (\d+)\n(?s:.*) (\d+) refused`).FindStringSubmatch(said)
	if m == nil || m[2] == "0" {
		t.Fatalf("nothing was refused: %s", said)
	}
	inode, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return inode
}

// message is what the kernel printed first of a full table, a namespace's number as N. Where it names one, it is to be
// this.
func (g guest) message(t *testing.T, inode uint64) string {
	t.Helper()
	line := g.Run(t, "dmesg | grep 'table full' | head -n 1")
	_, text, _ := strings.Cut(line, "] ")
	form, ok := watcher.MatchMessage([]byte(text))
	if !ok || form.Count != 1 {
		t.Fatalf("the kernel's message is not recognised: %q", line)
	}
	if form.NetNS == 0 {
		return text
	}
	if form.NetNS != inode {
		t.Errorf("%q names namespace %d, want %d", text, form.NetNS, inode)
	}
	return strings.Replace(text, strconv.FormatUint(form.NetNS, 10), "N", 1)
}

// wantStep waits until the last step is one of a reason, and its outcome is known where it has one. Both keys were read
// back, and the kernel has them.
func (g guest) wantStep(t *testing.T, reason remediate.Reason, from uint64) remediate.Step {
	t.Helper()
	// The program takes an emulated processor a while: the console is looked at first.
	if reason == remediate.ReasonBoot {
		g.Says(t, 0, fmt.Sprintf("step.applied: %d → ", from))
	} else {
		g.Says(t, 0, fmt.Sprintf("step.confirmed: %d → ", from))
	}
	var s remediate.Step
	g.Until(t, fmt.Sprintf("a step for %s, and its outcome", reason), func() bool {
		st := g.status(t)
		if len(st.Steps) == 0 || st.Steps[0].Reason != reason {
			return false
		}
		s = st.Steps[0]
		return s.Outcome != "" || reason == remediate.ReasonBoot
	})
	if s.From != from || s.To <= from || s.Error != "" {
		t.Errorf("step %+v; want one up from %d", s, from)
	}
	for _, key := range []string{"net.netfilter.nf_conntrack_max", "net.nf_conntrack_max"} {
		if s.Keys[key] != s.To {
			t.Errorf("%s was read back as %d, want %d", key, s.Keys[key], s.To)
		}
	}
	if now := g.settings(t); now.max != s.To || now.oldMax != s.To {
		t.Errorf("the kernel has %+v, want a limit of %d", now, s.To)
	}
	return s
}

// wantIncident checks the incident that a step was taken for: refusals that the kernel counted and told of itself. The
// record may be booked a moment after the step.
func (g guest) wantIncident(t *testing.T, s remediate.Step) {
	t.Helper()
	if s.Outcome != remediate.OutcomeEffective || s.Persisted != persisted {
		t.Errorf("step %+v; want it effective, and persisted in %s", s, persisted)
	}
	var i remediate.Incident
	g.Until(t, "the step's incident has a record of the kernel's", func() bool {
		for _, i = range g.status(t).Incidents {
			if i.ID == s.IncidentID {
				return i.Matches > 0
			}
		}
		return false
	})
	if i.Severity != remediate.SeverityCritical || !i.Verified || i.Drops == 0 || i.PerSource[string(remediate.SourceKmsg)] == 0 {
		t.Errorf("incident %+v; want it critical and verified, with refusals and records from kmsg", i)
	}
}

// wantPersisted checks what the file says.
func (g guest) wantPersisted(t *testing.T, limit uint64) {
	t.Helper()
	text := g.Run(t, "cat "+persisted)
	for _, line := range []string{
		"# machine id: " + machineID,
		fmt.Sprintf("net.netfilter.nf_conntrack_max = %d", limit),
		fmt.Sprintf("net.nf_conntrack_max = %d", limit),
	} {
		if !strings.Contains(text+"\n", line+"\n") {
			t.Errorf("%s lacks the line %q:\n%s", persisted, line, text)
		}
	}
}

// wantAppliedOnce has an administrator lower the limit and the agent start anew: the persisted limit was applied in this
// boot, so what somebody set since then stands.
func (g guest) wantAppliedOnce(t *testing.T, limit uint64) {
	t.Helper()
	g.stopAgent(t)
	g.Run(t, fmt.Sprintf("echo %d >/proc/sys/net/netfilter/nf_conntrack_max", limit))
	g.startAgent(t)
	g.wantTable(t, limit)
	applied := 0
	for _, s := range g.status(t).Steps {
		if s.Reason == remediate.ReasonBoot {
			applied++
		}
	}
	if now := g.settings(t); applied != 1 || now.max != limit {
		t.Errorf("applied at boot %d times, want once; the kernel has %+v, want a limit of %d", applied, now, limit)
	}
}
