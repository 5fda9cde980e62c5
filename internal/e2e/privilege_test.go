package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// withCaps runs what follows as an ordinary user with the capabilities alone, as a unit with AmbientCapabilities= and
// CapabilityBoundingSet= does.
func withCaps(caps ...string) []string {
	set := "-all"
	for _, c := range caps {
		set += ",+" + c
	}
	return []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=" + set, "--inh-caps=" + set,
		"--ambient-caps=" + set, "--no-new-privs"}
}

// ownDirs is an agent that has all its files in a directory of the user nobody's.
func ownDirs(t *testing.T, config string) *agentProcess {
	t.Helper()
	a := newAgent(t, nobodysDir(t), "")
	sysctl := filepath.Join(a.dir, "sysctl.d")
	if err := os.Mkdir(sysctl, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(sysctl, testhost.Nobody, testhost.Nobody); err != nil {
		t.Fatal(err)
	}
	a.persisted = filepath.Join(sysctl, "99-zz-ctwarden.conf")
	a.configure(t, config)
	return a
}

// TestPromiseLeastPrivilege has the agent do its whole job as an ordinary user with two capabilities, and looks at each
// system call that it makes on the way.
func TestPromiseLeastPrivilege(t *testing.T) {
	lock, ns := testkernel.First(t)
	testhost.NeedRestrictedLog(t)
	permitted := agentFilter(t)
	program, err := plainBuild()
	if err != nil {
		t.Fatal(err)
	}
	h := startHub(t)
	a := ownDirs(t, plain(h.url))
	a.program = program
	a.metrics = fmt.Sprintf("127.0.0.1:%d", testhost.Port(t))
	a.configure(t, plain(h.url))
	if err := lock.SetMax(limit); err != nil {
		t.Fatal(err)
	}
	setBuckets(t, 2560) // so few that the agent sizes the hash
	trace := filepath.Join(t.TempDir(), "trace")
	a.start(t, append(straced(t, trace), withCaps("net_admin", "syslog")...)...)
	if s := a.source(t, remediate.SourceKmsg, ""); !s.Up {
		t.Errorf("kmsg %+v", s)
	}
	watched(t, a, ns.Inode)
	press(t, ns)
	applied, confirmed := h.confirmed(t)
	if confirmed.Persisted != a.persisted || applied.To <= limit {
		t.Errorf("applied %+v\nconfirmed %+v", applied, confirmed)
	}
	wantLimit(t, applied.To)
	a.wantFile(t, applied.To)
	now, err := testkernel.ReadLimits()
	if err != nil || now.Buckets <= 2560 || now.Buckets*8 < applied.To {
		t.Errorf("%+v, %v: the hash was not sized for %d", now, err, applied.To)
	}
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	live(t, h, remediate.EventIncidentClosed)
	a.wantCommand(t, 0, []string{"kmsg: up"}, "status")
	wantWords(t, scrape(t, "http://"+a.metrics+"/metrics"), "ctwarden_conntrack_limit") // root's, as the agent must find out
	a.stop(t, syscall.SIGTERM)
	h.wait(t, remediate.EventAgentStopped, 1)

	calls := readTrace(t, trace, program)
	kinds := checkCalls(t, calls, permitted)
	denied := checkDenied(t, calls)
	testhost.Held(t, "7.1 least privilege",
		"as uid 65534 with CAP_NET_ADMIN and CAP_SYSLOG: limit %d to %d, buckets 2560 to %d, persisted; of %d system calls of %d kinds "+
			"0 outside of the unit's filter, 0 programs run, 0 sockets beyond unix, netlink and loopback, %d refused (%s)",
		applied.From, applied.To, now.Buckets, len(calls), kinds, sum(denied), counted(denied))
}

// press sends more connections than fit under the limit, so that a step is due; whether one is refused before it is taken
// does not matter.
func press(t *testing.T, ns *testkernel.Namespace) {
	t.Helper()
	if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: limit + 5000}); err != nil {
		t.Fatal(err)
	}
}

// listenOnSocket has the metrics served on a unix socket.
func (a *agentProcess) listenOnSocket(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(a.config)
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("listen: unix:%s/run/metrics.sock", a.dir)
	writeFile(t, a.config, strings.Replace(string(text), `listen: ""`, listen, 1), 0o644)
}

// never are calls of @system-service that the agent has no business with.
var never = []string{
	"execve", "execveat", "fork", "vfork", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
	"setfsuid", "setfsgid", "capset", "unshare", "chown", "fchown", "lchown", "fchownat", "keyctl", "add_key", "mknod", "mknodat",
	"init_module", "bpf", "ptrace", "mount", "umount2", "chroot", "pivot_root", "sethostname", "settimeofday", "clock_settime",
}

// loopback is an address of the machine's own, or of the probes by which Go learns what the kernel can do.
var loopback = regexp.MustCompile(`127\.\d+\.\d+\.\d+|inet_pton\(AF_INET6, "::1"|"::ffff:127\.0\.0\.1"|inet_addr\("0\.0\.0\.0"\)|inet_pton\(AF_INET6, "::"`)

// checkCalls fails the test where the agent ran a program, opened a socket to elsewhere, or did what a service need not
// do. It returns the number of kinds of calls.
func checkCalls(t *testing.T, calls []call, permitted map[string]bool) int {
	t.Helper()
	kinds := map[string]int{}
	for _, c := range calls {
		kinds[c.name]++
		switch {
		case !permitted[c.name] || slices.Contains(never, c.name):
			t.Errorf("%s(%s) = %s", c.name, c.args, c.result)
		case strings.HasPrefix(c.name, "clone") && !strings.Contains(c.args, "CLONE_THREAD"):
			t.Errorf("a process: %s(%s)", c.name, c.args)
		case c.name == "socket" && !regexp.MustCompile(`^AF_(UNIX|NETLINK|INET6?), `).MatchString(c.args):
			t.Errorf("a socket: %s", c.args)
		case slices.Contains([]string{"connect", "bind", "sendto"}, c.name) && strings.Contains(c.args, "AF_INET") && !loopback.MatchString(c.args):
			t.Errorf("an address: %s(%s)", c.name, c.args)
		}
	}
	t.Logf("kinds of calls: %s", counted(kinds))
	return len(kinds)
}

// mayBeDenied is what the two capabilities do not open, and the agent does without: other users' namespaces, the
// exact size of an entry, and how many there are that nobody sees.
var mayBeDenied = regexp.MustCompile(`^(?:readlinkat\(\d+, "\d+/ns/net"|openat\(.*"(?:\d+/)?(?:net/|ns/net|nf_conntrack_count|slab_size|slab|nf_conntrack|(?:total_)?objects|slabinfo)"|` +
	`openat\(.*/(?:ns/net|net/stat/nf_conntrack|slab_size)"|setns\()`)

// checkDenied fails the test where the kernel refused the agent what it was not known to do without.
func checkDenied(t *testing.T, calls []call) map[string]int {
	t.Helper()
	denied := map[string]int{}
	// epoll_ctl says so of a plain file, which cannot be waited for; rt_sigreturn gives back what the call before it gave.
	harmless := []string{"epoll_ctl", "rt_sigreturn"}
	for _, c := range calls {
		if !c.failed("EPERM", "EACCES") || slices.Contains(harmless, c.name) {
			continue
		}
		denied[c.name]++
		if text := c.name + "(" + c.args; !mayBeDenied.MatchString(text) {
			t.Errorf("refused: %s) = %s", text, c.result)
		}
	}
	return denied
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

func counted(counts map[string]int) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(out, ", ")
}

// TestPromiseEachCapability takes one of the two capabilities away: the rest of the job is done, and what is not is
// said with its remedy.
func TestPromiseEachCapability(t *testing.T) {
	lock, ns := testkernel.First(t)
	testhost.NeedRestrictedLog(t)
	if err := lock.SetMax(limit); err != nil {
		t.Fatal(err)
	}
	h := startHub(t)
	var reasons []string
	raisedTo := uint64(0)
	t.Run("without CAP_NET_ADMIN", func(t *testing.T) {
		for i, mode := range []string{"observe", "remediate"} {
			a := ownDirs(t, strings.Replace(plain(h.url), "mode: remediate", "mode: "+mode, 1))
			a.start(t, withCaps("syslog")...)
			if s := a.source(t, remediate.SourceKmsg, ""); !s.Up {
				t.Errorf("%s: kmsg %+v", mode, s)
			}
			watched(t, a, ns.Inode)
			fill(t, ns, a)
			refused := h.wait(t, remediate.EventStepRefused, i+1).Data.(remediate.Step)
			want := []remediate.Reason{remediate.ReasonObserveMode, remediate.ReasonReadOnly}[i]
			if refused.Reason != want {
				t.Errorf("%s: refused %+v, want %s", mode, refused, want)
			}
			reasons = append(reasons, string(refused.Reason))
			a.said(t, 1, "listing the table's entries needs CAP_NET_ADMIN: link remediate.conf")
			if mode == "remediate" {
				a.said(t, 1, `"about": "read_only", "error": "the limit cannot be written from here`)
				a.wantCommand(t, 1, []string{"read_only"}, "raise", "--to", "50000")
			}
			if err := ns.Flush(); err != nil {
				t.Fatal(err)
			}
			h.wait(t, remediate.EventIncidentClosed, i+1)
			a.stop(t, syscall.SIGTERM)
			h.wait(t, remediate.EventAgentStopped, i+1)
		}
		wantLimit(t, limit)
	})
	t.Run("without CAP_SYSLOG", func(t *testing.T) {
		a := ownDirs(t, strings.Replace(plain(h.url), "kmsg: {enabled: true}", "kmsg: {enabled: auto}", 1))
		file := filepath.Join(a.dir, "kern.log")
		writeFile(t, file, "", 0o644)
		text, err := os.ReadFile(a.config)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, a.config, strings.Replace(string(text), "syslog: {enabled: false}", "syslog: {files: ["+file+"]}", 1), 0o644)
		a.start(t, withCaps("net_admin")...)
		if s := a.source(t, remediate.SourceKmsg, ""); s.Up || !strings.Contains(s.Remedy, "CAP_SYSLOG") {
			t.Errorf("kmsg %+v", s)
		}
		watched(t, a, ns.Inode)
		press(t, ns)
		applied, _ := h.confirmed(t)
		wantLimit(t, applied.To)
		raisedTo = applied.To
		a.stop(t, syscall.SIGTERM)
	})
	testhost.Held(t, "7.2 each capability", "without CAP_NET_ADMIN %d incidents are seen and told, 0 limits changed (%s); without CAP_SYSLOG "+
		"the counters alone raise %d to %d; each says what is missing", len(reasons), strings.Join(reasons, ", "), limit, raisedTo)
}
