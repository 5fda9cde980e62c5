package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// call is one system call as strace writes it down.
type call struct {
	name, args, result string
}

func (c call) failed(errno ...string) bool {
	return slices.ContainsFunc(errno, func(e string) bool { return strings.HasPrefix(c.result, "-1 "+e+" ") })
}

// straced is how a program is run under strace, which stays in the background, so that the program itself is signalled.
func straced(t *testing.T, file string) []string {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		testhost.Skip(t, "needs strace: "+err.Error())
	}
	return []string{"strace", "-D", "-f", "-q", "-e", "signal=none", "-s", "200", "-o", file}
}

var (
	traceLine    = regexp.MustCompile(`^(\d+) +(.*)$`)
	traceCall    = regexp.MustCompile(`(?s)^(\w+)\((.*?)\)? += (.*)$`)
	traceResumed = regexp.MustCompile(`^<\.\.\. (\w+) resumed>(.*)$`)
)

// readTrace waits for the program's end in the trace, and gives its calls from its own start on.
func readTrace(t *testing.T, file, program string) []call {
	t.Helper()
	var text string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the trace ends with:\n%s", tail(text, 2000))
		}
	})
	testhost.Eventually(t, "the trace is written to its end", func() bool {
		b, err := os.ReadFile(file)
		text = string(b)
		return err == nil && strings.Contains(text, " exit_group(") && strings.HasSuffix(text, " +++\n")
	})
	var calls []call
	pending := map[string]string{}
	for line := range strings.Lines(text) {
		part := traceLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if part == nil {
			continue
		}
		pid, rest := part[1], part[2]
		if begun, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
			pending[pid] = begun
			continue
		}
		if resumed := traceResumed.FindStringSubmatch(rest); resumed != nil {
			rest = pending[pid] + resumed[2]
		}
		if c := traceCall.FindStringSubmatch(rest); c != nil {
			calls = append(calls, call{c[1], c[2], c[3]})
		}
	}
	own := slices.IndexFunc(calls, func(c call) bool {
		return c.name == "execve" && strings.HasPrefix(c.args, fmt.Sprintf("%q, ", program)) && c.result == "0"
	})
	if own < 0 {
		t.Fatalf("%s does not start in %d calls", program, len(calls))
	}
	return calls[own+1:]
}

// agentFilter is what the SystemCallFilter= lines of the agent's unit permit, with those of its drop-in namespaces.conf:
// the first names sets that are allowed, those with ~ take from them.
func agentFilter(t *testing.T) map[string]bool {
	t.Helper()
	permitted := map[string]bool{}
	for line := range strings.Lines(readFile(t, unitDir+"/ctwarden.service") + readFile(t, dropinDir+"/namespaces.conf")) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), "SystemCallFilter=")
		if !ok {
			continue
		}
		names, taken := strings.CutPrefix(value, "~")
		for _, name := range strings.Fields(names) {
			set := map[string]bool{name: true}
			if strings.HasPrefix(name, "@") {
				set = systemdSet(t, name)
			}
			for call := range set {
				permitted[call] = !taken
			}
		}
	}
	if !permitted["read"] || permitted["mount"] || permitted["chown"] {
		t.Fatalf("the unit permits %d calls: it is not understood", len(permitted))
	}
	return permitted
}

// systemdSet is a set of system calls as the host's systemd knows it, with all that it includes.
func systemdSet(t *testing.T, name string) map[string]bool {
	t.Helper()
	out, err := exec.Command("systemd-analyze", "syscall-filter").Output()
	if err != nil {
		testhost.Skip(t, "needs systemd-analyze: "+err.Error())
	}
	sets := map[string][]string{}
	at := ""
	for line := range strings.Lines(string(out)) {
		switch word := strings.TrimSpace(line); {
		case strings.HasPrefix(line, "@"):
			at = word
		case strings.HasPrefix(line, " ") && word != "" && word[0] != '#':
			sets[at] = append(sets[at], word)
		case word == "" || word[0] != '#':
			at = ""
		}
	}
	all := map[string]bool{}
	var add func(set string)
	add = func(set string) {
		for _, member := range sets[set] {
			if member[0] == '@' {
				add(member)
			}
			all[member] = true
		}
	}
	add(name)
	if len(all) == 0 {
		t.Fatalf("systemd knows no set %s", name)
	}
	return all
}

// TestReadTrace has strace's ways of writing a call down.
func TestReadTrace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace")
	writeFile(t, file, `7 execve("/usr/bin/setpriv", ["setpriv"], 0x7ffe /* 9 vars */) = 0
7 execve("/p", ["p", "run"], 0x7ffe /* 9 vars */) = 0
7 openat(AT_FDCWD, "/a) = 5", O_RDONLY) = -1 EACCES (Permission denied)
8 read(3,  <unfinished ...>
7 clone(child_stack=0xc0, flags=CLONE_VM|CLONE_THREAD) = 8
8 <... read resumed>"x", 1) = 1
8 exit_group(0 <unfinished ...>
8 <... exit_group resumed>)        = ?
8 +++ exited with 0 +++
7 +++ exited with 0 +++
`, 0o644)
	want := []call{
		{"openat", `AT_FDCWD, "/a) = 5", O_RDONLY`, "-1 EACCES (Permission denied)"},
		{"clone", "child_stack=0xc0, flags=CLONE_VM|CLONE_THREAD", "8"},
		{"read", `3, "x", 1`, "1"},
		{"exit_group", "0", "?"},
	}
	got := readTrace(t, file, "/p")
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if i > 0 && got[i] != want[i] || got[i].name != want[i].name {
			t.Errorf("%q, want %q", got[i], want[i])
		}
	}
}
