package installed

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// natsURL is where the hub of a machine has its NATS server.
const natsURL = "nats://127.0.0.1:4222"

// follower has what came out of NATS in a machine, by the installed program's own word.
type follower struct {
	mu     sync.Mutex
	events []notify.Received
	broken []error // what was no event
}

// follow begins with what the hub of the machine received in the last hour.
func (m *machine) follow(t *testing.T) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := m.command(ctx, "ctwarden", "events", "--server", natsURL, "--since", "1h", "-o", "json")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = io.Discard // it tells of each try to connect
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &follower{}
	done := make(chan struct{}) // closed when the program has ended
	go func() {
		defer close(done)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			f.take(lines.Bytes())
		}
		_ = cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		cancel()
		stdout.Close() // the program outlives nsenter, which is killed
		<-done
	})
	return f
}

func (f *follower) take(line []byte) {
	ev, err := notify.Decode(line)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.broken = append(f.broken, fmt.Errorf("%w: %s", err, line))
		return
	}
	f.events = append(f.events, ev)
}

// of returns the events of a type that are wanted.
func (f *follower) of(typ remediate.EventType, wanted func(remediate.Event) bool) (found []remediate.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ev := range f.events {
		if ev.Event.Type == typ && wanted(ev.Event) {
			found = append(found, ev.Event)
		}
	}
	return found
}

// first waits for the first such event.
func (f *follower) first(t *testing.T, typ remediate.EventType, wanted func(remediate.Event) bool) remediate.Event {
	t.Helper()
	var found []remediate.Event
	testhost.Eventually(t, string(typ), func() bool {
		found = f.of(typ, wanted)
		return len(found) > 0
	})
	return found[0]
}

// once fails the test where an event came twice, or what came was none.
func (f *follower) once(t *testing.T) (events int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := map[string]bool{}
	for _, ev := range f.events {
		if seen[ev.Event.ID] {
			t.Errorf("%s %s came twice", ev.Event.Type, ev.Event.ID)
		}
		seen[ev.Event.ID] = true
	}
	for _, err := range f.broken {
		t.Error(err)
	}
	return len(seen)
}

// every wants all events of a type.
func every(remediate.Event) bool { return true }

// inNamespace wants the incidents and steps of a namespace that happened while the agent ran.
func inNamespace(inode uint64) func(remediate.Event) bool {
	return func(ev remediate.Event) bool {
		switch d := ev.Data.(type) {
		case remediate.Incident:
			return d.NetNS.Inode == inode && !d.Historical
		case remediate.Step:
			return d.NetNS.Inode == inode
		}
		return false
	}
}

// journalled are the events of a type that the machine's journal has, as the agent wrote them there.
func (m *machine) journalled(t *testing.T, typ remediate.EventType) (found []remediate.Event) {
	t.Helper()
	out := m.run(t, "journalctl", "--no-pager", "-q", "-o", "json", "CTWARDEN_EVENT="+string(typ))
	for line := range strings.Lines(out) {
		var record struct {
			JSON string `json:"CTWARDEN_JSON"`
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		ev, err := notify.Decode([]byte(record.JSON))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		found = append(found, ev.Event)
	}
	return found
}

// said waits until the journal has a line since a cursor; empty: of our services', ever.
func (m *machine) said(t *testing.T, since string, words ...string) {
	t.Helper()
	testhost.Eventually(t, fmt.Sprintf("the journal has %q", words), func() bool {
		for line := range strings.Lines(m.run(t, m.journalOf(since)...)) {
			if hasAll(line, words) {
				return true
			}
		}
		return false
	})
}

// journalOf reads our services' journal. Where it is read from a cursor on, nothing is left out: journalctl passes over one
// record, for the cursor's own, also where that is left out.
func (m *machine) journalOf(since string) []string {
	args := []string{"journalctl", "--no-pager", "-q", "-o", "cat"}
	if since != "" {
		return append(args, "--after-cursor="+since)
	}
	return append(args, "-u", "ctwarden.service", "-u", "ctwarden-hub.service")
}

// cursor is the end of the journal now.
func (m *machine) cursor(t *testing.T) string {
	t.Helper()
	out := m.run(t, "journalctl", "--no-pager", "-q", "-n", "1", "--show-cursor", "-o", "cat")
	_, cursor, _ := strings.Cut(out, "-- cursor: ")
	return strings.TrimSpace(cursor)
}

func hasAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// kernelLines counts what the kernel has printed of refusals in a namespace since the machine was booted, as its log still
// has it. The number of a namespace may have been another's before.
func (m *machine) kernelLines(t *testing.T, inode uint64) (n int) {
	t.Helper()
	phrase := fmt.Sprintf("table full in netns %d, dropping packet", inode)
	for line := range strings.Lines(output(t, exec.Command("dmesg"))) {
		at := 0.0
		if _, err := fmt.Sscanf(line, "[%f]", &at); err == nil && at > m.begun.Seconds() && strings.Contains(line, phrase) {
			n++
		}
	}
	return n
}

// sinceBoot is the clock of the kernel's log.
func sinceBoot(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}
