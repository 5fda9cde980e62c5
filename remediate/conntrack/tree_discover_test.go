package conntrack

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate"
)

func TestDiscoverNames(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	files := without(nil, map[string]string{
		"proc/self/mountinfo": "22 1 254:0 / / rw - ext4 /dev/vda rw\n" +
			"30 22 0:4 net:[101] /run/netns/blue rw shared:5 - nsfs nsfs rw\n" +
			"31 22 0:4 net:[102] /run/docker/netns/f00d rw shared:6 - nsfs nsfs rw\n" +
			`32 22 0:4 net:[103] /run/netns/a\040b rw - nsfs nsfs rw` + "\n" +
			"33 22 0:4 mnt:[104] /run/other rw - nsfs nsfs rw\n" +
			"34 22 0:4 net:[108] /run/docker/netns/cafe rw - nsfs nsfs rw\n" +
			"35 22 0:4 net:[4026531840] /run/netns/host rw - nsfs nsfs rw\n",
		"proc/1/ns/net":    "-> net:[4026531840]",
		"proc/7/ns/net":    "-> net:[101]", // a process in a named namespace: the name wins
		"proc/7/comm":      "haproxy\n",
		"proc/8/ns/net":    "-> net:[102]",
		"proc/8/cgroup":    "0::/system.slice/docker-" + id + ".scope\n",
		"proc/10/ns/net":   "-> net:[105]", // the lowest id, not the first name
		"proc/10/cgroup":   "3:cpu:/\n1:name=systemd:/system.slice/named.service\n",
		"proc/9/ns/net":    "-> net:[105]",
		"proc/9/cgroup":    "3:cpu:/\n0::/system.slice/unbound.service\n",
		"proc/11/ns/net":   "-> net:[106]",
		"proc/11/cgroup":   "0::/\n",
		"proc/11/comm":     "sleep\n",
		"proc/12/ns/net":   "-> net:[107]", // ended: nothing more can be read
		"proc/13/comm":     "no link\n",
		"proc/uptime":      "1 2\n",
		"proc/14/ns/net":   "-> net:[109]",
		"proc/14/cgroup":   "4:memory:/kubepods/burstable/pod1/" + id + "\n0::/kubepods.slice/some.service\n",
		"proc/15/ns/net":   "-> net:[110]",
		"proc/15/cgroup":   "0::/lxc.payload.web1/system.slice/nginx.service\n",
		"proc/16/ns/net":   "-> net:[111]",
		"proc/16/cgroup":   "0::/lxc/web2\n",
		"proc/4000/ns/net": "-> net:[0]",
	})
	want := []remediate.NetNS{
		{Inode: 4026531840, Name: "init", Owner: "host", Init: true},
		{Inode: 101, Name: "blue", Owner: "netns"},
		{Inode: 102, Name: "0123456789ab", Owner: "container"},
		{Inode: 103, Name: "a b", Owner: "netns"},
		{Inode: 105, Name: "unbound.service", Owner: "unit"},
		{Inode: 106, Name: "sleep[11]", Owner: "process"},
		{Inode: 107, Name: "net:[107]", Owner: "netns"},
		{Inode: 108, Name: "cafe", Owner: "netns"},
		{Inode: 109, Name: "0123456789ab", Owner: "container"},
		{Inode: 110, Name: "web1", Owner: "container"},
		{Inode: 111, Name: "web2", Owner: "container"},
	}
	table := open(t, tree(t, files))
	for range 2 { // the second time from what is remembered
		got := discover(t, table)
		if len(got) != len(want) {
			t.Fatalf("found %+v", got)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("found %+v, want %+v", got[i], want[i])
			}
		}
	}
}

// TestDiscoverWaitsForNoName has a process whose cgroup the kernel does not tell, here a pipe that nobody writes to. Its
// namespace is found all the same, keeps the name that it had, and gets its new one once the answer is there.
func TestDiscoverWaitsForNoName(t *testing.T) {
	root := tree(t, without(nil, map[string]string{
		"proc/self/mountinfo": "",
		"proc/8/ns/net":       "-> net:[102]",
		"proc/8/comm":         "dnsmasq\n",
		"proc/9/ns/net":       "-> net:[103]",
		"proc/9/comm":         "sleep\n",
	}))
	at := time.Now()
	table, err := Open(root, func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	names := func(want ...string) {
		t.Helper()
		begin := time.Now()
		for i, ns := range discover(t, table)[1:] {
			if ns.Name != want[i] {
				t.Errorf("named %+v, want %s", ns, want[i])
			}
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	}
	names("dnsmasq[8]", "sleep[9]")
	pipe := filepath.Join(root, "proc/8/cgroup")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/8/comm"), []byte("unbound\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		at = at.Add(nameEvery)
		names("dnsmasq[8]", "sleep[9]")
	}
	answer, err := os.OpenFile(pipe, os.O_WRONLY, 0) // the reader waits
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(pipe), answer.Close()); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for len(table.namer.asked) == 0 && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	at = at.Add(nameEvery)
	names("unbound[8]", "sleep[9]")
}

// TestCountersThroughAProcess has no namespace that could be entered, as without CAP_SYS_ADMIN.
func TestCountersThroughAProcess(t *testing.T) {
	const handle = "proc/50/net/stat/nf_conntrack"
	files := map[string]string{
		"proc/50/ns/net": "-> net:[200]", "proc/50/comm": "guest\n", handle: "entries drop\n00000010 00000005\n",
		"proc/51/ns/net": "-> net:[201]", "proc/51/comm": "other\n",
	}
	root := tree(t, without(nil, files))
	table := open(t, root)
	discover(t, table)
	first, err := table.Read(200, true)
	if err != nil || first.Count != 16 || first.Counters.Drop != 5 || first.Blind || first.Max != 65536 {
		t.Errorf("reading = %+v, %v", first, err)
	}
	blind, err := table.Read(201, true)
	if err != nil || !blind.Blind || blind.CountersOK {
		t.Errorf("a namespace without counters: %+v, %v; want a blind reading", blind, err)
	}

	// The namespace ends and a new one has its inode: nothing of the old may be carried on.
	if err := os.RemoveAll(filepath.Join(root, "proc/50")); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Read(200, true); !errors.Is(err, ErrGone) {
		t.Errorf("without its process: %v, want ErrGone", err)
	}
	for name, content := range map[string]string{
		"proc/52/ns/net": "-> net:[200]", "proc/52/comm": "fresh\n",
		"proc/52/net/stat/nf_conntrack": "entries drop\n00000001 00000002\n",
	} {
		put(t, root, name, content)
	}
	discover(t, table)
	next, err := table.Read(200, true)
	if err != nil || next.Counters.Drop != 2 || next.NetNS.Name != "fresh[52]" {
		t.Errorf("the new namespace: %+v, %v", next, err)
	}
}

func TestInodeReusedBetweenTwoLooks(t *testing.T) {
	root := tree(t, without(nil, map[string]string{
		"proc/50/ns/net": "-> net:[200]", "proc/50/comm": "guest\n",
		"proc/50/net/stat/nf_conntrack": "entries drop\n00000010 00000005\n",
	}))
	table := open(t, root)
	discover(t, table)
	if _, err := table.Read(200, true); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "proc/50")); err != nil {
		t.Fatal(err)
	}
	put(t, root, "proc/60/ns/net", "-> net:[200]")
	put(t, root, "proc/60/comm", "fresh\n")
	put(t, root, "proc/60/net/stat/nf_conntrack", "entries drop\n00000010 00000002\n")
	discover(t, table)
	if r, err := table.Read(200, true); err != nil || r.Counters.Drop != 2 {
		t.Errorf("drops = %d, %v; want the 2 of the new namespace", r.Counters.Drop, err)
	}
	if got := table.Replaced(); !slices.Equal(got, []uint64{200}) {
		t.Errorf("replaced %v, want 200", got)
	}
	discover(t, table)
	if got := table.Replaced(); len(got) > 0 {
		t.Errorf("replaced %v, want none", got)
	}
}

func TestProcessLeftTheNamespace(t *testing.T) {
	root := tree(t, without(nil, map[string]string{
		"proc/50/ns/net": "-> net:[200]", "proc/50/comm": "a\n",
		"proc/51/ns/net": "-> net:[200]", "proc/51/comm": "b\n",
		"proc/50/net/stat/nf_conntrack": "entries drop\n00000010 00000005\n",
		"proc/51/net/stat/nf_conntrack": "entries drop\n00000010 00000005\n",
	}))
	table := open(t, root)
	discover(t, table)
	if err := os.RemoveAll(filepath.Join(root, "proc/50")); err != nil {
		t.Fatal(err)
	}
	put(t, root, "proc/50/ns/net", "-> net:[300]")
	put(t, root, "proc/50/net/stat/nf_conntrack", "entries drop\n00000077 00000077\n")
	if r, err := table.Read(200, true); err != nil || r.Counters.Drop != 5 {
		t.Errorf("drops = %d, %v; want the 5 that process 51 shows", r.Counters.Drop, err)
	}
}

// TestReplacedIsToldAfterAReadingFoundIt has a reading look around, which finds that another namespace's inode is a new one's.
func TestReplacedIsToldAfterAReadingFoundIt(t *testing.T) {
	root := tree(t, without(nil, map[string]string{
		"proc/50/ns/net": "-> net:[200]", "proc/50/comm": "guest\n",
		"proc/50/net/stat/nf_conntrack": "entries drop\n00000010 00000005\n",
		"proc/70/ns/net":                "-> net:[300]", "proc/70/comm": "other\n",
		"proc/70/net/stat/nf_conntrack": "entries drop\n00000010 00000006\n",
	}))
	table := open(t, root)
	discover(t, table)
	for _, pid := range []string{"50", "70"} {
		if err := os.RemoveAll(filepath.Join(root, "proc", pid)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, root, "proc/60/ns/net", "-> net:[200]")
	put(t, root, "proc/60/comm", "fresh\n")
	put(t, root, "proc/60/net/stat/nf_conntrack", "entries drop\n00000010 00000002\n")
	if _, err := table.Read(300, true); !errors.Is(err, ErrGone) {
		t.Fatalf("the one that went: %v, want ErrGone", err)
	}
	if news, told := table.Changed(); !news || !told {
		t.Errorf("news %v, told %v, want both", news, told)
	}
	for _, want := range [][]uint64{{200}, nil} {
		discover(t, table)
		if got := table.Replaced(); !slices.Equal(got, want) {
			t.Errorf("replaced %v, want %v", got, want)
		}
	}
}
