package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

const lookbackConfig = `
mode: remediate
site: e2e
remediate: {max_insert_rate: 1000, persist_file: PERSIST}
nats: {servers: [%s]}
sources: {%skmsg: {enabled: true}, journal: {enabled: true, directory: %s}, syslog: {enabled: true, files: [%s, %s]}}
`

// TestPromiseLookback has the kernel refuse before the first start ever, with every source there: the agent finds that in
// each as far back as it is told to look, as history, and nothing with sources.lookback 0.
func TestPromiseLookback(t *testing.T) {
	_, ns := lowered(t)
	for strings.Contains(runDmesg(t), fmt.Sprintf("netns %d,", ns.Inode)) {
		ns = testkernel.Scratch(t) // the kernel gave this one the number of an earlier test's
	}
	r := newRig(t)
	testhost.WaitForRatelimit(t)
	begin, refused := kernelClock(t), time.Now()
	if _, err := ns.Burst(t.Context(), burst); err != nil {
		t.Fatal(err)
	}
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	printed := printedSince(t, ns.Inode, begin)
	if printed == 0 {
		t.Fatal("the kernel printed nothing")
	}
	named := fmt.Sprintf("netns %d", ns.Inode)
	r.journal.Written(t, named)
	r.syslog.Written(t, named)
	both := testhost.KernelRecord(t) // behind the last of them
	r.journal.Written(t, both)
	r.syslog.Written(t, both)
	testhost.Eventually(t, "it is of the past", func() bool { return time.Since(refused) > 3*time.Second })
	old := filepath.Join(t.TempDir(), "old.log")
	var text strings.Builder
	for _, ago := range []time.Duration{11, 11, 11, 9, 9} {
		fmt.Fprintf(&text, "%s %s kernel: %s\n", time.Now().Add(-ago*time.Minute).Format(time.RFC3339), hostname(t), message)
	}
	writeFile(t, old, text.String(), 0o644)

	for _, c := range []struct {
		name, lookback string
		kernels, old   int // lines found of each stream of the kernel's, and of the old file
	}{
		{"default", "", printed, 2},
		{"none", "lookback: 0s, ", 0, 0},
		{"20 minutes", "lookback: 20m, ", printed, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := startHub(t)
			a := newAgent(t, t.TempDir(), fmt.Sprintf(lookbackConfig, h.url, c.lookback, r.journal.Dir, r.syslog.File, old))
			a.start(t)
			testhost.Eventually(t, "every source has caught up", func() bool {
				for _, s := range a.status(t).Sources {
					if !s.CaughtUp {
						return false
					}
				}
				return true
			})
			if got := a.source(t, remediate.SourceSyslog, old).Matches; got != uint64(c.old) {
				t.Errorf("%d lines of the old file, want %d", got, c.old)
			}
			streams := []fed{{remediate.SourceKmsg, ""}, {remediate.SourceJournal, r.journal.Dir}, {remediate.SourceSyslog, r.syslog.File}}
			if c.kernels == 0 {
				for _, s := range streams {
					if got := a.source(t, s.source, s.path).Matches; got != 0 {
						t.Errorf("%d lines of %s, want none", got, s.source)
					}
				}
			} else {
				h.found(t, ns.Inode, c.kernels)
			}
			a.stop(t, syscall.SIGTERM)
			h.wait(t, remediate.EventAgentStopped, 1)
			for _, ev := range h.of("") {
				if i, ok := ev.Event.Data.(remediate.Incident); ok && (!i.Historical || c.kernels == 0) || strings.HasPrefix(string(ev.Event.Type), "step.") {
					t.Errorf("%s %+v for what is past", ev.Event.Type, ev.Event.Data)
				}
			}
			wantLimit(t, limit)
			h.once(t)
		})
	}
	testhost.Held(t, "1.15 first start ever", "%d lines of the kernel's found in each of kmsg, journal and file by default, 2 of 5 older ones in a file; "+
		"with lookback 0 none; all as history, steps 0", printed)
}

func runDmesg(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("dmesg").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// found waits for the incident of the past in a namespace, and fails the test unless every stream had so many lines of it.
func (h *hub) found(t *testing.T, inode uint64, lines int) {
	t.Helper()
	var past []remediate.Incident
	testhost.Eventually(t, "the incident of the past is told", func() bool {
		past = nil
		for _, ev := range h.of(remediate.EventIncidentClosed) {
			if i := ev.Event.Data.(remediate.Incident); i.NetNS.Inode == inode {
				past = append(past, i)
			}
		}
		return len(past) > 0
	})
	if i := past[0]; len(past) != 1 || !i.Historical || i.Matches != lines || len(i.PerSource) != 3 {
		t.Errorf("told %+v, want one of %d lines in three streams", past, lines)
	}
	for source, n := range past[0].PerSource {
		if n != lines {
			t.Errorf("%d lines in %s, want %d", n, source, lines)
		}
	}
}
