package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

const journalFloodConfig = `
mode: observe
site: e2e
incident: {close_after: 1s, pressure: 0.97}
remediate: {max_insert_rate: 1000}
nats: {servers: ["%s"]}
sources: {lookback: 0s, kmsg: {enabled: false}, journal: {enabled: true, directory: %s}, syslog: {enabled: false}}
`

const (
	// refusedASecond is how many packets are refused a second in a namespace, for each of which the kernel prints a line.
	refusedASecond = 3000
	// floodSeconds is for how long what the agent uses is measured at least.
	floodSeconds = 5
)

// TestPromiseJournalFlood has the kernel itself print as many lines as journald takes, ordinary users log what looks like
// them through all of its fields, with records of 48 KiB and more, NUL and invalid UTF-8; and another namespace refuse in
// the middle of it.
func TestPromiseJournalFlood(t *testing.T) {
	_, ns := lowered(t)
	noisy := testkernel.Scratch(t)
	program, err := plainBuild()
	if err != nil {
		t.Fatal(err)
	}
	h, d := startHub(t), testhost.StartJournald(t)
	a := newAgent(t, t.TempDir(), fmt.Sprintf(journalFloodConfig, h.url, d.Dir))
	a.program = program
	printUnlimited(t)
	a.start(t)
	watched(t, a, ns.Inode)
	watched(t, a, noisy.Inode)
	old := journalLines(t, d)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var flood errgroup.Group
	flood.Go(func() error { return refuseUntil(ctx, noisy) })
	forged := make([]int, 2)
	for i := range forged {
		flood.Go(func() (err error) {
			forged[i], err = logUntil(ctx, d.Path("/run/systemd/journal/socket"))
			return err
		})
	}
	testhost.Eventually(t, "the kernel's lines come through", func() bool { return a.source(t, remediate.SourceJournal, d.Dir).Matches > 100 })
	before, at := usageOf(t, a.cmd.Process.Pid), time.Now()
	told, arrived := a.refusedInDeluge(t, h, ns)
	testhost.Eventually(t, "it was long enough", func() bool {
		return time.Since(at) > time.Duration(testhost.Amount(floodSeconds, 60))*time.Second
	})
	took := time.Since(at)
	now := usageOf(t, a.cmd.Process.Pid)
	share := now.since(before, took)
	cancel()
	if err := flood.Wait(); err != nil {
		t.Fatal(err)
	}
	if told > time.Second || now.peak > mostMemory || share >= mostCPU {
		t.Errorf("a refusal took %v to be told of, %d MB, %.2f of a core", told, now.peak>>20, share)
	}
	var read uint64
	testhost.Eventually(t, "all that the kernel printed is read, or counted as lost", func() bool {
		s := a.source(t, remediate.SourceJournal, d.Dir)
		printed := uint64(journalLines(t, d) - old)
		read = s.Matches
		return read == printed || read < printed && s.Lost > 0
	})
	if n := len(h.of(remediate.EventMatchUnverified)); n > 0 {
		t.Errorf("%d match.unverified: a forged record was read", n)
	}
	if read < 1000 {
		t.Errorf("the kernel's lines were %d: no flood", read)
	}
	a.stop(t, syscall.SIGTERM)
	testhost.Held(t, "6.13 flood through journald", "%d lines of the kernel's and %d forged records, some of 48 KiB and more, with NUL and invalid "+
		"UTF-8, in %.1f s: %d MB at most, %.2f of a core; a real refusal meanwhile told of after %d ms, at NATS after %d ms; forged ones counted 0",
		read, forged[0]+forged[1], took.Seconds(), now.peak>>20, share, told.Milliseconds(), arrived.Milliseconds())
}

// printUnlimited has the kernel print each networking message, and none of them on the console, until the test ends.
func printUnlimited(t *testing.T) {
	t.Helper()
	for path, value := range map[string]string{"/proc/sys/net/core/message_cost": "0", "/proc/sys/kernel/printk": "1"} {
		old, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(value), 0)
		}
		if err != nil {
			testhost.Skip(t, err.Error())
		}
		t.Cleanup(func() {
			if err := os.WriteFile(path, old, 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// refuseUntil fills a namespace for good, and has connections refused there until ctx is done.
func refuseUntil(ctx context.Context, ns *testkernel.Namespace) error {
	ended := func() bool { return ctx.Err() != nil }
	full := testkernel.Traffic{Kind: testkernel.Established, Flows: limit + 100, Until: ended}
	more := testkernel.Traffic{Kind: testkernel.Established, Flows: refusedASecond * 100, Rate: refusedASecond / 3, Until: ended}
	for _, traffic := range []testkernel.Traffic{full, more} {
		if _, err := ns.Send(ctx, traffic); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

// logUntil writes records that look like the kernel's to journald's own socket as fast as it takes them, until ctx is
// done; it returns how many.
func logUntil(ctx context.Context, socket string) (n int, err error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetWriteBuffer(1 << 20); err != nil {
		return 0, err
	}
	const fields = "SYSLOG_IDENTIFIER=kernel\nSYSLOG_FACILITY=0\nPRIORITY=4\n_TRANSPORT=kernel\n_SOURCE_MONOTONIC_TIMESTAMP=1\n"
	records := [][]byte{
		[]byte("MESSAGE=" + message + "\n" + fields),
		[]byte("MESSAGE=" + message + "\n_BOOT_ID=00000000000000000000000000000000\n" + fields),
		[]byte(binaryField("MESSAGE", message+"\x00\xff\xfe\n"+message) + fields),
		[]byte("MESSAGE=" + message + strings.Repeat(" "+message, 1000) + "\n" + fields), // some 57,000 bytes
		[]byte(binaryField("MESSAGE", strings.Repeat("\x00\xff"+message, 1500)) + fields),
	}
	for ; ctx.Err() == nil; n++ {
		i := n % 3
		if n%20 == 0 {
			i = n / 20 % len(records)
		}
		if _, err := conn.Write(records[i]); err != nil {
			return n, err
		}
	}
	return n, nil
}

// binaryField is a field of journald's own protocol with any bytes in it.
func binaryField(name, value string) string {
	return name + "\n" + string(binary.LittleEndian.AppendUint64(nil, uint64(len(value)))) + value + "\n"
}

// journalLines counts the lines of a full table that the kernel printed and journald wrote, with nothing but journalctl.
func journalLines(t *testing.T, d *testhost.Journald) int {
	t.Helper()
	out, err := exec.Command("journalctl", "-D", d.Dir, "-q", "-o", "cat", "_TRANSPORT=kernel", "SYSLOG_FACILITY=0").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(out), "table full")
}
