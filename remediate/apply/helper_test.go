package apply

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// childEnv names what the test binary does when a test starts it as a process of its own; see children.
const childEnv = "CTWARDEN_APPLY_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		children[name](os.Args[1:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// children are the programs that tests run and kill.
var children = map[string]func(args []string){
	"act":      childAct,
	"crash":    childCrash,
	"persist":  childPersist,
	"readonly": childReadOnly,
}

// child is a command that runs one of them.
func child(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// at is the tests' time.
var at = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// configFor is the configuration of an applier below root, as childCrash has it too.
func configFor(root string) Config {
	return Config{
		Root: root, RuntimeDir: filepath.Join(root, "run/ctwarden"), PersistFile: "/etc/sysctl.d/99-zz-ctwarden.conf",
		Host: "node7", MachineID: "0123456789abcdef0123456789abcdef", Version: "1.2.3", BootID: "b00t",
		Now: func() time.Time { return at },
	}
}

// fake is an applier on a scratch root whose settings are plain files: unlike the kernel's, the two names of the limit
// are two variables, so that what happens between the two writes shows.
type fake struct {
	*Applier
	t    testing.TB
	root string
}

func newFake(t testing.TB, limit, buckets uint64) *fake {
	f := &fake{t: t, root: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(f.root, "proc/sys/net/netfilter"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.setAll(limit, limit, buckets)
	f.reopen(nil)
	return f
}

// reopen stands for a restart of the program.
func (f *fake) reopen(fail func(string)) {
	f.t.Helper()
	cfg := configFor(f.root)
	cfg.Fail = fail
	a, err := New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { a.Close() })
	f.Applier = a
}

// put writes a setting as somebody else would; 0 removes it.
func (f *fake) put(key string, n uint64) {
	f.t.Helper()
	name := filepath.Join(f.root, sysPath(key))
	if n == 0 {
		os.Remove(name)
		return
	}
	if err := os.WriteFile(name, fmt.Appendf(nil, "%d\n", n), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fake) setAll(limit, old, buckets uint64) {
	f.put(KeyMax, limit)
	f.put(KeyOldMax, old)
	f.put(KeyBuckets, buckets)
}

// state is the settings as "max/old/buckets", 0 for one that is not there.
func (f *fake) state() string {
	var out []string
	for _, key := range []string{KeyMax, KeyOldMax, KeyBuckets} {
		data, _ := os.ReadFile(filepath.Join(f.root, sysPath(key)))
		line, _, _ := strings.Cut(string(data), "\n")
		if line == "" {
			line = "0"
		}
		out = append(out, line)
	}
	return strings.Join(out, "/")
}

// plant writes a file below the root.
func (f *fake) plant(name, content string) {
	f.t.Helper()
	p := filepath.Join(f.root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fake) intents() []string {
	names, err := filepath.Glob(filepath.Join(f.root, "run/ctwarden/*intent-*"))
	if err != nil {
		f.t.Fatal(err)
	}
	return names
}

// raise is a decision to step.
func raise(from, to, buckets uint64) remediate.Decision {
	return remediate.Decision{
		Do: true, From: from, To: to, Buckets: buckets, Reason: remediate.ReasonFull, IncidentID: "inc-1",
		NetNS: remediate.NetNS{Inode: 4026531840, Name: "init", Owner: "host", Init: true},
	}
}

// meta is what the tests' steps are recorded with.
var meta = StepMeta{ID: "step-1", Mode: remediate.ModeRemediate, Ceiling: 524288}

func atoi(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}
