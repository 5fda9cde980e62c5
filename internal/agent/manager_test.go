package agent

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestPromiseServiceManagerHangs has a service manager that reads nothing: the loop goes on, the stop is as quick as any,
// and once the manager reads again it hears that the agent was ready and that it stops.
func TestPromiseServiceManagerHangs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "20000")
	a, stop, done := runScratch(t, newScratch(t), 0)
	defer a.Close()
	// Linux lets net.unix.max_dgram_qlen (10, or 512) of them wait, and twice that where it is asked at both ends.
	const states = 2000
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n := range states {
		if _, err := ask(ctx, a, func() bool {
			a.told, a.toldAt = "", time.Time{}
			a.tellState()
			return true
		}); err != nil {
			t.Fatalf("the loop answers no more after %d states: %v", n, err)
		}
	}
	begin := time.Now()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	took := time.Since(begin)
	if took > 3*time.Second {
		t.Errorf("the stop took %v", took)
	}
	heard := readAll(t, manager)
	if !slices.Contains(heard, "READY=1") || heard[len(heard)-1] != "STOPPING=1" {
		t.Errorf("it heard %q", heard)
	}
	testhost.Held(t, "8.3 a service manager that hangs", "%d states told to one that reads nothing: the loop answered each time, "+
		"the stop took %d ms; READY=1 and STOPPING=1 were heard afterwards", states, took.Milliseconds())
}

// readAll reads until a message that says that the agent stops, in its order; equal ones are one.
func readAll(t *testing.T, from *net.UnixConn) (texts []string) {
	t.Helper()
	buf := make([]byte, 4096)
	for {
		if err := from.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := from.Read(buf)
		if err != nil {
			t.Fatalf("%v, after %q", err, texts)
		}
		if text := string(buf[:n]); len(texts) == 0 || texts[len(texts)-1] != text {
			texts = append(texts, text)
		}
		if strings.HasPrefix(texts[len(texts)-1], "STOPPING") {
			return texts
		}
	}
}

func TestStateText(t *testing.T) {
	seen := remediate.Incident{
		Severity: remediate.SeverityWarning, NetNS: remediate.NetNS{Inode: 4026531840, Name: "init", Init: true}, Count: 60000, Max: 65536,
	}
	unseen := remediate.Incident{Severity: remediate.SeverityCritical, NetNS: remediate.NetNS{Inode: 4026532177}, Matches: 3}
	for want, open := range map[string][]remediate.Incident{
		"observe, 1 namespace, no incident":                                                            nil,
		"observe, 1 incident open, the latest warning in init: 60000 of 65536 in use":                  {seen},
		"observe, 2 incidents open, the latest critical in netns 4026532177: its table cannot be seen": {seen, unseen},
	} {
		if got := stateText(remediate.ModeObserve, 1, open); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
