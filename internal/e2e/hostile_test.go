package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// mostMemory and mostCPU are what the agent may use whatever is written to what it watches.
	mostMemory = 64 << 20
	mostCPU    = 1.0
	// delugeBytes is how much of a deluge the file may hold, delugePause the time between two blocks of a megabyte, so that
	// the machine that runs the tests does something else too.
	delugeBytes = 1 << 30
	// mostForged is how many lines are written into the kernel's ring buffer, which others need too.
	mostForged  = 200
	delugePause = 2500 * time.Microsecond
)

const hostileConfig = `
mode: remediate
site: e2e
incident: {close_after: 1s, pressure: 0.97}
remediate: {ceiling: 200000, max_step: 2, max_insert_rate: 1000, persist: false}
nats: {servers: ["%s"]}
sources: {lookback: 0s, kmsg: {enabled: true}, journal: {enabled: false}, syslog: {enabled: true, files: [%s]}}
`

// usage is what a process has used so far.
type usage struct {
	cpu  time.Duration
	peak int64 // bytes resident at most
}

func usageOf(t *testing.T, pid int) (u usage) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	for _, field := range fields[11:13] { // utime and stime, in hundredths of a second
		ticks, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscanf(after, "%d kB", &u.peak); err != nil {
		t.Fatal(err)
	}
	u.peak <<= 10
	return u
}

// deluge is what somebody writes to a log as fast as the disk takes it.
type deluge struct {
	name string
	// line is the nth line, with its end where it has one.
	line func(host string, n int) string
}

var deluges = []deluge{
	{"real lines", func(host string, n int) string {
		return fmt.Sprintf("%s %s kernel: [%d.%06d] %s\n", time.Now().Format(time.RFC3339Nano), host, n/1e6, n%1e6, message)
	}},
	{"namespaces", func(host string, n int) string {
		return fmt.Sprintf("%s %s kernel: nf_conntrack: nf_conntrack: table full in netns %d, dropping packet\n",
			time.Now().Format(time.RFC3339Nano), host, 4026531840+n)
	}},
	{"hosts", func(_ string, n int) string {
		return fmt.Sprintf("%s h%d kernel: %s\n", time.Now().Format(time.RFC3339Nano), n, message)
	}},
	{"times", func(host string, n int) string {
		at := time.Date(1970+n%8030, 1, 1+n/8030%365, 0, 0, n%86400, 0, time.UTC)
		return fmt.Sprintf("%s %s kernel: %s\n", at.Format(time.RFC3339), host, message)
	}},
	{"repeats", func(host string, n int) string {
		return fmt.Sprintf("%s %s kernel: message repeated %d times: [ %s]\n", time.Now().Format(time.RFC3339Nano), host, n, message)
	}},
	{"other lines", func(host string, n int) string {
		return fmt.Sprintf("%s %s sshd[%d]: Failed password for root\n", time.Now().Format(time.RFC3339Nano), host, n)
	}},
	{"bytes", func(_ string, n int) string { return "\x00\xff\xfe table full " + message + "\x00\n\n\r\x80" }},
	{"no end of line", func(_ string, n int) string { return message + " " }},
}

// block is about a megabyte of a deluge.
func (s deluge) block(host string) []byte {
	var b []byte
	for n := 0; len(b) < 1<<20; n++ {
		b = append(b, s.line(host, n)...)
	}
	return b
}

// blow writes the deluge for a while, and returns how many lines there were and how long it took.
func (s deluge) blow(file, host string, d time.Duration) (lines int, took time.Duration, err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	block := s.block(host)
	inBlock := bytes.Count(block, []byte{'\n'})
	tick := time.NewTicker(delugePause)
	defer tick.Stop()
	start := time.Now()
	for ; time.Since(start) < d; lines += inBlock {
		if info, err := f.Stat(); err != nil || info.Size() > delugeBytes { // room again
			if err := errors.Join(err, f.Truncate(0)); err != nil {
				return lines, time.Since(start), err
			}
		}
		if _, err := f.Write(block); err != nil {
			return lines, time.Since(start), err
		}
		<-tick.C
	}
	return lines, time.Since(start), nil
}

// TestPromiseHostileInput has everything that others can write to written as fast as it goes, and a real refusal in
// the middle of it.
func TestPromiseHostileInput(t *testing.T) {
	_, ns := lowered(t)
	h, a, file, metrics := newMeasured(t, hostileConfig)
	a.start(t)
	watched(t, a, ns.Inode)
	begin, start := kernelClock(t), time.Now()
	total, worst := blowAll(t, a, file)

	testhost.WaitForRatelimit(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var junk errgroup.Group
	junk.Go(func() error { return pester(ctx, agent.ControlSocket(filepath.Join(a.dir, "run")), metrics) })
	junk.Go(func() error { return blowUntil(ctx, file, hostname(t)) })
	before, at := usageOf(t, a.cmd.Process.Pid), time.Now()
	told, arrived := a.refusedInDeluge(t, h, ns)
	now := usageOf(t, a.cmd.Process.Pid)
	worst = max(worst, now.since(before, time.Since(at)))
	cancel()
	if err := junk.Wait(); err != nil {
		t.Error(err)
	}
	if told > time.Second || now.peak > mostMemory || worst >= mostCPU {
		t.Errorf("a refusal took %v to be told of, %d MB, %.2f of a core", told, now.peak>>20, worst)
	}
	if printed := printedSince(t, ns.Inode, begin); printed == 0 {
		t.Error("the kernel did not print a line, so that none was looked for among the forged")
	}
	if n, most := len(h.of(remediate.EventMatchUnverified)), 2+int(time.Since(start)/time.Minute); n == 0 || n > most {
		t.Errorf("%d match.unverified, want 1 to %d", n, most)
	}
	if n := len(h.of(remediate.EventStepApplied)); n == 0 {
		t.Error("the real refusal made no step")
	}
	a.stop(t, syscall.SIGTERM)
	testhost.Held(t, "6.1 hostile input", "%d million lines in %d forms, junk on the socket, slow clients: %d MB at most, %.2f of a core; "+
		"a real refusal meanwhile told of after %d ms, at NATS after %d ms; steps on forged lines 0",
		total/1e6, len(deluges), now.peak>>20, worst, told.Milliseconds(), arrived.Milliseconds())
}

// since is the share of a core that was used after an earlier look, that long ago.
func (u usage) since(before usage, took time.Duration) float64 {
	return (u.cpu - before.cpu).Seconds() / took.Seconds()
}

// blowAll plays every deluge, and returns how many lines there were and the largest share of a core that one cost.
func blowAll(t *testing.T, a *agentProcess, file string) (total int, worst float64) {
	t.Helper()
	pid, each := a.cmd.Process.Pid, time.Duration(testhost.Amount(2, 60))*time.Second
	for _, s := range deluges {
		before := usageOf(t, pid)
		n, took, err := s.blow(file, hostname(t), each)
		if err != nil {
			t.Fatal(err)
		}
		now := usageOf(t, pid)
		share := now.since(before, took)
		worst, total = max(worst, share), total+n
		t.Logf("%s: %d lines, %.1f M a second; CPU %.2f, memory at most %d MB", s.name, n, float64(n)/took.Seconds()/1e6, share, now.peak>>20)
	}
	return total, worst
}

func blowUntil(ctx context.Context, file, host string) error {
	for ctx.Err() == nil {
		if _, _, err := deluges[0].blow(file, host, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// refusedInDeluge has the kernel refuse, and returns how long after the first refused packet the incident was told of
// by its own time, and when it had arrived at NATS.
func (a *agentProcess) refusedInDeluge(t *testing.T, h *hub, ns *testkernel.Namespace) (told, arrived time.Duration) {
	t.Helper()
	if n := len(h.of(remediate.EventStepApplied)); n != 0 {
		t.Errorf("%d steps on forged lines alone", n)
	}
	wantLimit(t, limit)
	base := drops(t, ns)
	a.freeze(t)
	var filled errgroup.Group
	filled.Go(func() error {
		_, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: limit + 5000})
		return err
	})
	testhost.Eventually(t, "packets are refused", func() bool { return drops(t, ns) > base })
	refused := time.Now()
	a.thaw(t)
	var at time.Time
	testhost.Eventually(t, "the refusal is told of", func() bool {
		for _, typ := range []remediate.EventType{remediate.EventIncidentOpened, remediate.EventIncidentUpdated} {
			for _, r := range h.of(typ) {
				i := r.Event.Data.(remediate.Incident)
				if at.IsZero() && i.Severity == remediate.SeverityCritical && i.Verified && i.NetNS.Inode == ns.Inode && !i.Historical {
					at = r.Event.Time
				}
			}
		}
		return !at.IsZero()
	})
	arrived = time.Since(refused)
	if err := filled.Wait(); err != nil {
		t.Error(err)
	}
	return max(at.Sub(refused), 0), arrived // the agent may be faster than this test's look at the counters
}

// pester opens connections to the agent that ask for nothing sensible, and writes to the kernel's log what looks like its
// own, until ctx is done.
func pester(ctx context.Context, socket, metrics string) error {
	address := strings.TrimSuffix(strings.TrimPrefix(metrics, "http://"), "/metrics")
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	says := []string{"", "GET /v1/status HTTP/1.1\r\n", strings.Repeat("\x00\xff", 4096), "POST /v1/raise HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n{",
		"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"}
	for n := 0; ctx.Err() == nil; n++ {
		if n < mostForged {
			if err := os.WriteFile("/dev/kmsg", []byte(message+"\n"), 0); err != nil {
				return err
			}
		}
		network, to := "unix", socket
		if n%2 == 1 {
			network, to = "tcp", address
		}
		c, err := net.DialTimeout(network, to, time.Second)
		if err != nil {
			continue // it has its bounds
		}
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.Write([]byte(says[n%len(says)])) // the other end may well have closed
		if open = append(open, c); len(open) > 300 {
			open[0].Close()
			open = open[1:]
		}
	}
	return nil
}
