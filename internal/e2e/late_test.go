package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

const lateConfig = `
site: e2e
nats: {servers: [%s]}
sources: {lookback: 0s, late_after: 5s, kmsg: {enabled: true}, journal: {enabled: false}, syslog: {enabled: true, files: [%s]}}
`

// share is a control group whose programs get a share of one CPU's time.
type share struct{ dir, file, form, none string }

func newShare(t *testing.T) *share {
	t.Helper()
	s := &share{file: "cpu.cfs_quota_us", form: "%d", none: "-1"}
	root := mounted(t, "cgroup", "cpu")
	if root == "" {
		if root = mounted(t, "cgroup2", ""); root == "" {
			testhost.Skip(t, "no control groups are mounted")
		}
		s.file, s.form, s.none = "cpu.max", "%d 100000", "max 100000"
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu"), 0); err != nil {
			testhost.Skip(t, "control groups without cpu: "+err.Error())
		}
	}
	s.dir = filepath.Join(root, fmt.Sprintf("ctwarden-e2e-cpu-%d", os.Getpid()))
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		testhost.Skip(t, "make a control group: "+err.Error())
	}
	t.Cleanup(func() {
		if err := os.Remove(s.dir); err != nil {
			t.Error(err)
		}
	})
	return s
}

// to sets the share in percent; 0: as much as there is.
func (s *share) to(t *testing.T, percent int) {
	t.Helper()
	text := s.none
	if percent > 0 {
		text = fmt.Sprintf(s.form, percent*1000)
	}
	if err := os.WriteFile(filepath.Join(s.dir, s.file), []byte(text), 0); err != nil {
		testhost.Skip(t, "this kernel cannot give a share of a CPU: "+err.Error())
	}
}

func (s *share) wrap() []string {
	return []string{"sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, s.dir}
}

// TestPromiseLateSource has more written to a log file than an agent reads that gets little of a CPU: that is said, and
// over by itself once the writer is done and the agent has caught up, with every line read.
func TestPromiseLateSource(t *testing.T) {
	testkernel.Hold(t)
	h, a, file, metrics := newMeasured(t, lateConfig)
	cpu := newShare(t)
	a.start(t, cpu.wrap()...)
	f := fed{remediate.SourceSyslog, file}
	h.wait(t, remediate.EventAgentStarted, 1)
	cpu.to(t, 5)
	end := make(chan struct{})
	var work errgroup.Group
	written := 0
	work.Go(func() (err error) { written, err = pour(file, hostname(t), end); return err })
	begin := time.Now()
	testhost.Eventually(t, "it is called late", func() bool {
		return a.source(t, f.source, f.path).Fault == "late" && h.faults(remediate.EventSourceDegraded, f) == 1
	})
	after := time.Since(begin)
	lag := a.source(t, f.source, f.path).LagSeconds
	wantWords(t, scrape(t, metrics), `ctwarden_source_up{source="syslog"} 0`, `ctwarden_source_up{source="kmsg"} 1`)
	a.wantCommand(t, 0, []string{": LATE, ", "more comes through " + file + " than is read"}, "status")
	close(end)
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	cpu.to(t, 0)
	testhost.Eventually(t, "it has caught up", func() bool {
		s := a.source(t, f.source, f.path)
		return s.Fault == "" && s.Records == uint64(written) && h.faults(remediate.EventSourceRecovered, f) == 1
	})
	wantWords(t, scrape(t, metrics), `ctwarden_source_up{source="syslog"} 1`)
	if s := a.source(t, f.source, f.path); s.Lost != 0 || s.Matches != uint64(written) {
		t.Errorf("of %d lines: %+v", written, s)
	}
	a.stop(t, syscall.SIGTERM)
	h.wait(t, remediate.EventAgentStopped, 1)
	if d, up := h.faults(remediate.EventSourceDegraded, f), h.faults(remediate.EventSourceRecovered, f); d != 1 || up != 1 {
		t.Errorf("degraded %d times, recovered %d times, want once", d, up)
	}
	testhost.Held(t, "8.4 a reader that falls behind", "called late %.1f s after more came than was read, %.1f s behind, at a patience of 5 s; "+
		"recovered by itself; %d lines, each read once, lost 0", after.Seconds(), lag, written)
}

// pour writes real-looking lines, each block with the time of its writing, until end is closed; it returns how many.
func pour(file, host string, end <-chan struct{}) (lines int, err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	tick := time.NewTicker(80 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return lines, nil
		case <-tick.C:
		}
		block := deluges[0].block(host)
		lines += bytes.Count(block, []byte{'\n'})
		if _, err := f.Write(block); err != nil {
			return lines, err
		}
	}
}
