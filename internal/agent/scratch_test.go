package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
	"github.com/ctwarden/ctwarden/watcher"
)

// scratch is a host of files alone: what the kernel shows of it is written by the test.
type scratch struct {
	root string
	cfg  Config
}

const hostInode = 4026531840

// scratchStat has the entries and the refused packets.
const scratchStat = "entries searched found new invalid ignore delete delete_list insert insert_failed drop early_drop " +
	"icmp_error expect_new expect_create expect_delete search_restart\n" +
	"%08x 0 0 0 0 0 0 0 0 0 %08x 0 0 0 0 0 0\n"

// scratchStatChains is the same of a kernel that refuses inserts on long hash chains.
var scratchStatChains = strings.Replace(scratchStat, "delete_list", "chainlength", 1)

func newScratch(t *testing.T) scratch {
	t.Helper()
	h := scratch{root: t.TempDir()}
	h.link(t, "proc/self", "777")
	h.link(t, "proc/777/ns/net", fmt.Sprintf("net:[%d]", hostInode))
	h.link(t, "proc/net", "self/net")
	h.put(t, "proc/777/mountinfo", "")
	h.put(t, "proc/meminfo", "MemTotal: 48000000 kB\nMemAvailable: 40000000 kB\n")
	h.put(t, "proc/sys/kernel/osrelease", "6.12.0\n")
	h.table(t, 100, 65536, 0)
	h.put(t, "etc/sysctl.d/README", "")
	dir := t.TempDir()
	p := remediate.DefaultPolicy()
	p.Mode, p.MaxStep = remediate.ModeRemediate, p.Step // each step doubles the limit, whatever demand asks for
	h.cfg = Config{
		Version: "test", Host: "hv1", Site: "lab", Root: h.root, Policy: p, CloseAfter: 2 * time.Minute,
		UpdateEvery: 30 * time.Second, StateDir: filepath.Join(dir, "state"), RuntimeDir: filepath.Join(dir, "run"),
		PersistFile: "/etc/sysctl.d/99-zz-ctwarden.conf", Log: zap.NewNop(),
		Sources: SourcesConfig{Kmsg: SwitchOff, Journal: SwitchOff, Syslog: SwitchOff},
	}
	return h
}

func (h scratch) put(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (h scratch) link(t *testing.T, name, target string) {
	t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// table sets what the kernel shows of the first namespace.
func (h scratch) table(t *testing.T, count, limit, refused int) {
	t.Helper()
	for _, name := range []string{"netfilter/nf_conntrack_max", "nf_conntrack_max"} {
		h.put(t, "proc/sys/net/"+name, fmt.Sprintln(limit))
	}
	h.put(t, "proc/sys/net/netfilter/nf_conntrack_count", fmt.Sprintln(count))
	h.put(t, "proc/sys/net/netfilter/nf_conntrack_buckets", "131072\n")
	h.put(t, "proc/777/net/stat/nf_conntrack", fmt.Sprintf(scratchStat, count, refused))
}

func (h scratch) limit(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.root, "proc/sys/net/netfilter/nf_conntrack_max"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (h scratch) open(t *testing.T) *Agent {
	t.Helper()
	a, err := Open(t.Context(), h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestTheFirstPersistedLimitIsNotAppliedAgainInItsBoot(t *testing.T) {
	h := newScratch(t)
	a := h.open(t)
	a.sample()
	r := a.raise(131072)
	if !r.Done {
		t.Fatal(r.Text)
	}
	if _, err := a.applier.Persist(*r.Step, apply.PersistMeta{}); err != nil {
		t.Fatal(err)
	}
	a.save(true)
	a.recorder.work(context.Background())
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	h.table(t, 100, 65536, 0) // an administrator takes it back
	b := h.open(t)
	b.sample()
	if got := h.limit(t); got != "65536" {
		t.Errorf("limit %s: an administrator's change was overridden at the agent's next start", got)
	}
}

func TestOrderWithoutAnAgentDoesNothingElse(t *testing.T) {
	h := newScratch(t)
	a := h.open(t)
	earlier := remediate.Step{From: 65536, To: 262144, Reason: remediate.ReasonFull}
	if _, err := a.applier.Persist(earlier, apply.PersistMeta{}); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b := h.open(t)
	r, err := b.Once(t.Context(), Command{Verb: VerbRaise, To: 131072})
	if err != nil || !r.Done {
		t.Errorf("%+v %v", r, err)
	}
	if got := h.limit(t); got != "131072" {
		t.Errorf("limit %s, want what was asked for", got)
	}
}

// Many records that name a namespace nobody can find must not keep the loop from its readings.
func TestUnknownNamespacesDoNotHoldTheLoop(t *testing.T) {
	h := newScratch(t)
	for i := 1000; i < 3000; i++ {
		h.link(t, fmt.Sprintf("proc/%d/ns/net", i), fmt.Sprintf("net:[%d]", hostInode))
	}
	a := h.open(t)
	a.sample()
	for _, at := range []time.Time{time.Now().Add(-time.Hour), time.Now().Add(time.Minute)} {
		start := time.Now()
		for i := range 5000 {
			m := remediate.Match{
				Source: remediate.SourceKmsg, Time: at, NetNS: uint64(4026540000 + i), Count: 1, BootID: a.bootID,
			}
			if err := a.takeBatches(watcher.Batch{Source: remediate.SourceKmsg, Matches: []remediate.Match{m}}, a.batches); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("records of %v: the loop stood for %v", at.Format(time.TimeOnly), took)
		}
	}
}

func TestFailingStepsLeaveTheJournalOfStepsAlone(t *testing.T) {
	h := newScratch(t)
	a := h.open(t)
	a.sample()
	if r := a.raise(131072); !r.Done {
		t.Fatal(r.Text)
	}
	if err := os.Remove(filepath.Join(h.root, "proc/sys/net/netfilter/nf_conntrack_buckets")); err != nil {
		t.Fatal(err)
	}
	d := remediate.Decision{Do: true, From: 131072, To: 262144, Buckets: 131072, Reason: remediate.ReasonFull}
	for range 5 {
		a.stepAfter = time.Time{} // the time for the next try has come
		if _, err := a.apply(d); err == nil {
			t.Fatal("the hash cannot be resized, and the step succeeded")
		}
		if !a.stepAfter.After(time.Now()) {
			t.Error("tried again at once")
		}
	}
	h.put(t, "proc/sys/net/netfilter/nf_conntrack_buckets", "131072\n")
	if wait := time.Until(a.stepAfter); wait < 10*time.Second {
		t.Errorf("after five failures the next try is in %v", wait)
	}
	if r, _ := a.revert(false); !r.Done || h.limit(t) != "65536" {
		t.Errorf("revert: %+v, limit %s", r, h.limit(t))
	}
}
