package testkernel

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestEachFlowHasAnEntry(t *testing.T) {
	for _, c := range []struct {
		name string
		kind Kind
		rate float64
		sent uint64
	}{
		{"UDP in one burst", UDP, 0, 10000},
		{"UDP over IPv6 in one burst", UDP6, 0, 10000},
		{"TCP in one burst", SYN, 0, 10000},
		{"TCP over IPv6 in one burst", SYN6, 0, 10000},
		{"TCP established", Established, 0, 30000},
		{"UDP at a rate", UDP, 20000, 10000},
	} {
		t.Run(c.name, func(t *testing.T) {
			Hold(t) // the limit stays
			ns := Scratch(t)
			result, err := ns.Send(t.Context(), Traffic{Kind: c.kind, Flows: 10000, Rate: c.rate})
			if err != nil {
				t.Fatal(err)
			}
			if result.Sent != c.sent || result.Refused != 0 {
				t.Errorf("sent %d, refused %d; want %d and 0", result.Sent, result.Refused, c.sent)
			}
			wantCount(t, ns, 10000)
			if c.rate > 0 && result.Took < 400*time.Millisecond {
				t.Errorf("10000 flows at %v/s took %v", c.rate, result.Took)
			}
			if err := ns.Flush(); err != nil {
				t.Fatal(err)
			}
			wantCount(t, ns, 0)
		})
	}
}

// TestEntriesAreOfTheirKind has conntrack(8) say what the kernel took the packets for.
func TestEntriesAreOfTheirKind(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   Kind
		family string
		want   string // a regular expression of the one entry
	}{
		{"UDP", UDP, "ipv4", `^udp +17 \d+ src=198\.18\.\S+ dst=198\.1[89]\.\S+ sport=\d+ dport=9 \[UNREPLIED\]`},
		{"UDP over IPv6", UDP6, "ipv6", `^udp +17 \d+ src=fd63:7478::1 dst=fd63:7477::\S+ sport=\d+ dport=9 \[UNREPLIED\]`},
		{"TCP", SYN, "ipv4", `^tcp +6 \d+ SYN_SENT src=198\.18\.\S+ dst=198\.1[89]\.\S+ sport=\d+ dport=9 \[UNREPLIED\]`},
		{"TCP over IPv6", SYN6, "ipv6", `^tcp +6 \d+ SYN_SENT src=fd63:7478::1 dst=fd63:7477::\S+ sport=\d+ dport=9 \[UNREPLIED\]`},
		{"TCP established", Established, "ipv4", `^tcp +6 \d+ ESTABLISHED src=198\.18\.\S+ .* \[ASSURED\]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := Scratch(t)
			if _, err := ns.Send(t.Context(), Traffic{Kind: c.kind, Flows: 1}); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("ip", "netns", "exec", ns.Name, "conntrack", "-L", "-f", c.family).Output()
			if err != nil {
				t.Fatal(err)
			}
			if entries := string(out); !regexp.MustCompile(c.want).MatchString(entries) || strings.Count(entries, "\n") != 1 {
				t.Errorf("entries %q, want one like %s", entries, c.want)
			}
		})
	}
}

func TestFlowsAreFreshInEachCall(t *testing.T) {
	Hold(t)
	ns := Scratch(t)
	for range 3 {
		if _, err := ns.Burst(t.Context(), 5000); err != nil {
			t.Fatal(err)
		}
	}
	wantCount(t, ns, 15000)
}

func TestRefusalsAreTheKernels(t *testing.T) {
	lock, ns := First(t)
	before, err := ns.Count()
	if err != nil {
		t.Fatal(err)
	}
	drops, early := counters(t, ns)
	if err := lock.SetMax(before + 2000); err != nil {
		t.Fatal(err)
	}
	result, err := ns.Burst(t.Context(), 20000)
	if err != nil {
		t.Fatal(err)
	}
	dropsAfter, earlyAfter := counters(t, ns)
	// Others use this namespace too, and are refused a packet now and then.
	if got := dropsAfter - drops; result.Refused == 0 || got < result.Refused || got > result.Refused+result.Refused/100 {
		t.Errorf("refused %d, the kernel counted %d drops", result.Refused, got)
	}
	t.Logf("%+v, thrown out early %d, %.0f flows/s", result, earlyAfter-early, result.PerSecond())
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	after, err := ReadLimits()
	if err != nil || after != lock.Saved() {
		t.Errorf("limits afterwards: %+v, %v; want %+v", after, err, lock.Saved())
	}
}

func TestEstablishedEntriesAreNotThrownOut(t *testing.T) {
	lock, ns := First(t)
	before, err := ns.Count()
	if err != nil {
		t.Fatal(err)
	}
	_, early := counters(t, ns)
	if err := lock.SetMax(before + 5000); err != nil {
		t.Fatal(err)
	}
	if _, err := ns.Send(t.Context(), Traffic{Kind: Established, Flows: 5000}); err != nil {
		t.Fatal(err)
	}
	result, err := ns.Burst(t.Context(), 5000)
	if err != nil {
		t.Fatal(err)
	}
	_, earlyAfter := counters(t, ns)
	if result.Refused < 4900 || earlyAfter-early > 100 {
		t.Errorf("refused %d of 5000, thrown out %d; want nearly all and none", result.Refused, earlyAfter-early)
	}
}

func TestLimitsOfAKilledHolderAreRestored(t *testing.T) {
	lock := Hold(t)
	want := lock.Saved()
	if err := lock.SetMax(want.Max - 1000); err != nil {
		t.Fatal(err)
	}
	// What a SIGKILL leaves: the lock gone, the limit lowered, the file there.
	lock.file.Close()
	lock.file = nil
	next := Hold(t)
	if next.Saved() != want {
		t.Errorf("the next holder found %+v, want %+v", next.Saved(), want)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	ns := Scratch(t)
	name, sink := ns.Name, ns.sink
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{name, sink} {
		if _, err := os.Stat(netnsDir + "/" + name); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

func TestNamespacesOfDeadProcessesAreSwept(t *testing.T) {
	Require(t)
	const dead = prefix + "4194304-1-t" // above the highest process id
	if err := run(t.Context(), "", "ip", "netns", "add", dead); err != nil {
		t.Fatal(err)
	}
	Scratch(t)
	if _, err := os.Stat(netnsDir + "/" + dead); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dead, err)
	}
}

func TestBurstRate(t *testing.T) {
	Hold(t)
	ns := Scratch(t)
	for _, traffic := range []Traffic{{}, {Senders: 1}, {Kind: UDP6}, {Kind: SYN}, {Kind: SYN6}, {Kind: Established}} {
		traffic.Flows = 100000
		result, err := ns.Send(t.Context(), traffic)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v: %.0f packets/s", traffic, result.PerSecond())
		if err := ns.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSumColumnNeedsTheColumn(t *testing.T) {
	const table = "entries drop\n0000000a 00000010\n0000000a 00000002\n"
	if n, err := sumColumn(table, "drop"); n != 18 || err != nil {
		t.Errorf("sum = %d, %v; want 18", n, err)
	}
	if _, err := sumColumn(table, "early_drop"); err == nil || !strings.Contains(err.Error(), "early_drop") {
		t.Errorf("a missing column gave %v", err)
	}
}

func counters(t *testing.T, ns *Namespace) (drops, early uint64) {
	t.Helper()
	drops, err := ns.Drops()
	if err != nil {
		t.Fatal(err)
	}
	if early, err = ns.EarlyDrops(); err != nil {
		t.Fatal(err)
	}
	return drops, early
}

func wantCount(t *testing.T, ns *Namespace, want uint64) {
	t.Helper()
	if got, err := ns.Count(); err != nil || got != want {
		t.Errorf("entries = %d, %v; want %d", got, err, want)
	}
}
