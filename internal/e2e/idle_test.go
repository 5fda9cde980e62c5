package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// idleWaits is how often in a second the threads of an agent to which nothing happens may go to sleep, all together.
// Some 4 were measured in observe mode and 10 in remediate mode, 60 where each file is looked at every two seconds, and over
// 200 where it is ten times a second.
const idleWaits = 20

// idle has all sources but the journal. The arguments are the mode and the list of files.
const idle = `
mode: %s
remediate: {persist_file: PERSIST, buckets: keep}
sources: {lookback: 0s, journal: {enabled: false}, syslog: {files: [%s]}}
`

// TestIdleAgentSleeps counts how often the program is woken up.
func TestIdleAgentSleeps(t *testing.T) {
	testhost.NeedRoot(t)
	lock := testkernel.Hold(t)
	if err := lock.SetMax(262_144); err != nil { // the lower it is, the more often a table is read
		t.Fatal(err)
	}
	for _, mode := range []remediate.Mode{remediate.ModeObserve, remediate.ModeRemediate} {
		t.Run(string(mode), func(t *testing.T) { sleeps(t, mode) })
	}
}

// sleeps takes the quietest of some windows, since the kernel may print something, and other programs come and go.
func sleeps(t *testing.T, mode remediate.Mode) {
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "not-there")}
	for i := range 6 {
		file := filepath.Join(dir, fmt.Sprintf("log%d", i))
		writeFile(t, file, "2026-03-01T00:00:00Z h1 cron[1]: a line\n", 0o644)
		files = append(files, file)
	}
	a := startAgent(t, fmt.Sprintf(idle, mode, strings.Join(files, ", ")))
	const window = 4 * time.Second
	least, from, begun := -1.0, waitsOf(t, a.cmd.Process.Pid), time.Now()
	testhost.Eventually(t, fmt.Sprintf("a window with at most %d waits a second", idleWaits), func() bool {
		took := time.Since(begun)
		if took < window {
			return false
		}
		now := waitsOf(t, a.cmd.Process.Pid)
		rate := float64(now-from) / took.Seconds()
		if least < 0 || rate < least {
			least = rate
		}
		from, begun = now, time.Now()
		t.Logf("%.0f waits a second in %v", rate, took.Round(time.Millisecond))
		return least <= idleWaits
	})
}

// waitsOf is how often the threads of a process went to sleep by themselves so far. Those that ended are not counted.
func waitsOf(t *testing.T, pid int) (n int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("threads of %d: %v, %v", pid, tasks, err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		if err != nil {
			continue // it ended meanwhile
		}
		_, after, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
		var waits int
		if _, err := fmt.Sscanf(after, "%d", &waits); err != nil {
			t.Fatalf("%s: %v:\n%s", task, err, status)
		}
		n += waits
	}
	return n
}
