package agent

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

const fourCores = "cpu  1 2 3\ncpu0 1 2\ncpu1 1 2\ncpu2 1 2\ncpu3 1 2\nintr 5\ncpus 9\n"

func TestWriterIsFoundByTheValue(t *testing.T) {
	type files map[string]string
	const key = "net.netfilter.nf_conntrack_max"
	kubeProxy := files{"proc/stat": fourCores, "proc/31/comm": "bash\n", "proc/2817/comm": "kube-proxy\n"}
	for _, c := range []struct {
		name  string
		files files
		limit uint64
		want  remediate.Writer
	}{
		{"nothing", nil, 50000, remediate.Writer{}},
		{"a line", files{"etc/sysctl.d/50-db.conf": "# db\n" + key + " = 50000\n"}, 50000, remediate.Writer{
			Kind: remediate.WriterSysctl, Name: "/etc/sysctl.d/50-db.conf:2"}},
		{"a line under the other name", files{"etc/sysctl.conf": "net/nf_conntrack_max=50000\n"}, 50000, remediate.Writer{
			Kind: remediate.WriterSysctl, Name: "/etc/sysctl.conf:1"}},
		{"another value", files{"etc/sysctl.d/50-db.conf": key + " = 50001\n"}, 50000, remediate.Writer{}},
		{"the line with the last word", files{
			"etc/sysctl.d/10-a.conf": key + " = 50000\n", "etc/sysctl.d/20-b.conf": key + " = 60000\n" + key + " = 50000\n",
		}, 50000, remediate.Writer{Kind: remediate.WriterSysctl, Name: "/etc/sysctl.d/20-b.conf:2"}},
		{"a line that is loaded alone", files{
			"etc/sysctl.d/10-a.conf": key + " = 50000\n", "etc/sysctl.d/20-b.conf": key + " = 60000\n",
		}, 50000, remediate.Writer{Kind: remediate.WriterSysctl, Name: "/etc/sysctl.d/10-a.conf:1"}},
		{"kube-proxy", kubeProxy, 131072, remediate.Writer{Kind: remediate.WriterKubeProxy, Name: "kube-proxy"}},
		{"kube-proxy started again", files{"proc/stat": fourCores, "proc/31/comm": "bash\n", "proc/4711/comm": "kube-proxy\n"}, 131072,
			remediate.Writer{Kind: remediate.WriterKubeProxy, Name: "kube-proxy"}},
		{"kube-proxy would set another value", kubeProxy, 262144, remediate.Writer{}},
		{"kube-proxy's value without kube-proxy", files{"proc/stat": fourCores, "proc/31/comm": "bash\n"}, 131072, remediate.Writer{}},
		{"kube-proxy on a large machine", files{"proc/stat": fourCores + "cpu4 1\ncpu15 1\n", "proc/2817/comm": "kube-proxy\n"}, 196608,
			remediate.Writer{Kind: remediate.WriterKubeProxy, Name: "kube-proxy"}},
		{"tuned", files{
			"etc/tuned/active_profile":             "network-db powersave\n",
			"usr/lib/tuned/powersave/tuned.conf":   "[sysctl]\n" + key + " = 50000\n",
			"etc/tuned/profiles/network-db/x.conf": "",
		}, 50000, remediate.Writer{Kind: remediate.WriterTuned, Name: "/usr/lib/tuned/powersave/tuned.conf:2"}},
		{"a profile that tuned's includes", files{
			"etc/tuned/active_profile":    "db\n",
			"etc/tuned/db/tuned.conf":     "[main]\ninclude=base\n",
			"usr/lib/tuned/db/tuned.conf": "[sysctl]\n" + key + "=50000\n", // hidden by the one in /etc
			"etc/tuned/base/tuned.conf":   "[sysctl]\n\n net/nf_conntrack_max = \"50000\"\n",
		}, 50000, remediate.Writer{Kind: remediate.WriterTuned, Name: "/etc/tuned/base/tuned.conf:3"}},
		{"a profile that includes itself, and one that is a path", files{
			"etc/tuned/active_profile": "db ../../x ..\n", "etc/tuned/db/tuned.conf": "include=db, db\n",
			"x/tuned.conf": key + "=50000\n",
		}, 50000, remediate.Writer{}},
		{"a pattern", files{"etc/sysctl.d/50-db.conf": "net.netfilter.nf_conntrack_ma? = 50000\n"}, 50000, remediate.Writer{
			Kind: remediate.WriterSysctl, Name: "/etc/sysctl.d/50-db.conf:1"}},
		{"a pattern where nothing knows patterns", files{
			"usr/lib/systemd/libsystemd-shared-239.so": "", "usr/lib64/libprocps.so.7.1.0": "",
			"etc/sysctl.d/50-db.conf": "net.netfilter.nf_conntrack_ma? = 50000\n",
		}, 50000, remediate.Writer{}},
		{"the last word under procps 3.3.15", files{
			"usr/lib64/libprocps.so.7.1.0": "", "usr/lib/systemd/libsystemd-shared-239.so": "",
			"run/sysctl.d/50-db.conf": key + " = 50000\n", "etc/sysctl.d/50-db.conf": key + " = 60000\n",
			"etc/sysctl.d/40-a.conf": key + " = 50000\n",
		}, 50000, remediate.Writer{Kind: remediate.WriterSysctl, Name: "/run/sysctl.d/50-db.conf:1"}},
		{"two places", files{
			"proc/stat": fourCores, "proc/2817/comm": "kube-proxy\n", "etc/sysctl.d/50-db.conf": key + " = 131072\n",
		}, 131072, remediate.Writer{Kind: remediate.WriterKubeProxy, Name: "kube-proxy or /etc/sysctl.d/50-db.conf:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := scratch{root: t.TempDir()}
			for name, text := range c.files {
				h.put(t, name, text)
			}
			f := writerFinder{root: h.root}
			if got := f.search(c.limit); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestWriterOnADiskThatHangs has a file that does not answer: a change waits for its time once, those after it not at all
// until it has answered.
func TestWriterOnADiskThatHangs(t *testing.T) {
	h := scratch{root: t.TempDir()}
	h.put(t, "etc/tuned/db/tuned.conf", "net.nf_conntrack_max = 50000\n")
	pipe := filepath.Join(h.root, "etc/tuned/active_profile")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f := writerFinder{root: h.root, within: 50 * time.Millisecond}
	now := time.Unix(1000, 0)
	change := func(id string) remediate.Event {
		return remediate.Event{ID: id, Type: remediate.EventLimitChanged, Data: remediate.LimitChange{Old: 1, New: 50000}}
	}
	if !f.take(now, change("a")) || !f.take(now, change("b")) {
		t.Fatal("changes are not kept until they are named")
	}
	if !f.until.Equal(now.Add(f.within)) {
		t.Errorf("kept until %v, want %v", f.until, now.Add(f.within))
	}
	if given := f.giveUp(); len(given) != 2 || given[0].ID != "a" || given[1].ID != "b" {
		t.Errorf("given up: %v", given)
	}
	if f.take(now, change("c")) {
		t.Error("a change is kept though the disk hangs")
	}
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("none\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	<-f.found
	if ev := f.answered(); ev != nil {
		t.Errorf("a late answer names %v", ev)
	}
	if err := os.Remove(pipe); err != nil {
		t.Fatal(err)
	}
	h.put(t, "etc/tuned/active_profile", "db\n")
	if !f.take(now, change("d")) {
		t.Fatal("no change is kept once the disk answers")
	}
	if got := <-f.found; got.Kind != remediate.WriterTuned {
		t.Errorf("got %+v once it answers", got)
	}
	if ev := f.answered(); ev == nil || ev.ID != "d" || len(f.waiting) > 0 || f.found != nil {
		t.Errorf("answered for %v, %d wait", ev, len(f.waiting))
	}
}

// TestNothingIsSavedBeforeTheWriterIsNamed has a search that does not answer: steps go on, the change of the limit is not
// saved apart from what the tracker made of it, and is told without a name when its time is over.
func TestNothingIsSavedBeforeTheWriterIsNamed(t *testing.T) {
	h := newScratch(t)
	h.put(t, "etc/tuned/active_profile", "")
	pipe := filepath.Join(h.root, "etc/tuned/active_profile")
	if err := os.Remove(pipe); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	a := h.open(t)
	a.writers.within = time.Hour
	a.sample()
	a.save(true)
	h.table(t, 100, 50000, 0)
	for _, s := range a.spaces {
		s.next = time.Time{}
	}
	begin := time.Now()
	a.sample()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the reading took %v", took)
	}
	saved := a.savedAt
	a.save(false)
	if len(a.writers.waiting) != 1 || a.savedAt != saved {
		t.Fatalf("%d changes wait, saved %v", len(a.writers.waiting), a.savedAt != saved)
	}
	a.writers.until = time.Now()
	a.save(false)
	if len(a.writers.waiting) != 0 || a.savedAt == saved {
		t.Errorf("%d changes wait after their time, saved %v", len(a.writers.waiting), a.savedAt != saved)
	}
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // the search ends
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	<-a.writers.found
}

// TestRevertIsSavedWhileAWriterIsLookedFor has a limit taken back while a search runs, for which saving waits: the revert's
// intent goes only behind the revert itself.
func TestRevertIsSavedWhileAWriterIsLookedFor(t *testing.T) {
	h := newScratch(t)
	a := h.open(t)
	a.writers.within = time.Hour
	a.sample()
	if r := a.raise(131072); !r.Done {
		t.Fatal(r.Text)
	}
	a.save(true)
	a.recorder.work(t.Context())
	for _, limit := range []int{50000, 131072} { // somebody lowers it, and sets it back
		h.table(t, 100, limit, 0)
		for _, s := range a.spaces {
			s.next = time.Time{}
		}
		a.sample()
	}
	if len(a.writers.waiting) == 0 {
		t.Fatal("no writer is looked for")
	}
	r, rest := a.revert(true)
	if !r.Done {
		t.Fatal(r.Text)
	}
	a.recorder.do(func() { rest() })
	a.recorder.work(t.Context())
	if len(a.unkept) > 0 || len(a.events) > 0 || len(a.writers.waiting) > 0 {
		t.Errorf("the intent is let go of before %d steps and %d events are saved, %d wait", len(a.unkept), len(a.events), len(a.writers.waiting))
	}
}

// TestLimitChangedNamesTheWriter goes through the agent, and over a restart.
func TestLimitChangedNamesTheWriter(t *testing.T) {
	h := newScratch(t)
	h.put(t, "etc/sysctl.d/50-db.conf", "net.netfilter.nf_conntrack_max = 50000\n")
	a := h.open(t)
	a.sample()
	h.table(t, 100, 50000, 0)
	for _, s := range a.spaces {
		s.next = time.Time{}
	}
	a.sample()
	a.awaitWriters(time.Now())
	var got []remediate.LimitChange
	for _, ev := range a.events {
		if c, ok := ev.Data.(remediate.LimitChange); ok {
			got = append(got, c)
		}
	}
	want := remediate.LimitChange{Old: 65536, New: 50000, By: "/etc/sysctl.d/50-db.conf:1", ByKind: remediate.WriterSysctl, Times: 1}
	if len(got) != 1 || got[0] != want {
		t.Errorf("told %+v, want %+v", got, want)
	}
	if st := a.status(); st.Foreign == nil || st.Foreign.LimitChange != want {
		t.Errorf("status %+v", st.Foreign)
	}
}
