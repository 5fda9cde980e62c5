package apply

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// lockKernel holds the right to change the first namespace's limit until the test's end, when limit and hash are put
// back, and returns what they are.
func lockKernel(t *testing.T, a *Applier) values {
	t.Helper()
	testkernel.Hold(t)
	v, err := a.read()
	if err != nil {
		t.Fatal(err)
	}
	if !v.hasOld || !v.hasBuckets {
		testhost.Skip(t, "not in the first network namespace")
	}
	return v
}

// onHost is an applier on the real kernel with a scratch runtime directory.
func onHost(dir string) (*Applier, error) {
	cfg := configFor(dir)
	cfg.Root, cfg.Now = "/", nil
	return New(cfg)
}

// mustOnHost is onHost for the length of the test.
func mustOnHost(t *testing.T) *Applier {
	t.Helper()
	testkernel.Require(t)
	a, err := onHost(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// The real kernel takes the step under both names, rounds the hash up, and is brought back by the undo.
func TestRealKernel(t *testing.T) {
	a := mustOnHost(t)
	v := lockKernel(t, a)
	d := raise(v.max, v.max+1000, v.buckets+1)
	s, err := a.Step(d, StepMeta{ID: "real", Mode: remediate.ModeRemediate})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v in %d µs", s.Keys, s.TookUS)
	if s.Keys[KeyMax] != v.max+1000 || s.Keys[KeyOldMax] != v.max+1000 || s.Keys[KeyBuckets] <= v.buckets+1 ||
		s.Keys[KeyBuckets]%512 != 0 {
		t.Errorf("keys %v", s.Keys)
	}
	if s.TookUS <= 0 || s.TookUS > 5e6 {
		t.Errorf("took %d µs", s.TookUS)
	}
	if _, err := a.Step(d, StepMeta{ID: "again"}); !errors.Is(err, ErrChanged) {
		t.Errorf("a second time: %v", err)
	}
	got, err := a.Recover()
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	u, err := a.Undo(s, UndoMeta{To: s.From})
	if err != nil || u.Keys[KeyMax] != v.max || u.Keys[KeyOldMax] != v.max {
		t.Errorf("undo: %+v, %v", u, err)
	}
}

// childReadOnly tries a step where it is not allowed and prints what came of it. With an argument it first becomes
// that user.
func childReadOnly(args []string) {
	dir, err := os.MkdirTemp("/tmp", "ctwarden-apply")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if len(args) > 0 {
		id := int(atoi(args[0]))
		if err := errors.Join(os.Chown(dir, id, id), syscall.Setgroups(nil), syscall.Setgid(id), syscall.Setuid(id)); err != nil {
			panic(err)
		}
	}
	a, err := onHost(dir)
	if err != nil {
		panic(err)
	}
	v, err := a.read()
	if err != nil {
		panic(err)
	}
	s, err := a.Step(raise(v.max, v.max+1, 0), StepMeta{ID: "s"})
	fmt.Printf("readonly=%v notable=%v read=%v keys=%d\n%v\n", errors.Is(err, ErrReadOnly), errors.Is(err, ErrNoTable),
		v.max, s.Keys[KeyMax], err)
}

// A namespace of its own and a user without rights: told as read-only, with the remedy, and nothing is changed.
func TestReadOnly(t *testing.T) {
	a := mustOnHost(t)
	before := lockKernel(t, a)
	for _, tt := range []struct {
		name  string
		flags uintptr
		args  []string
	}{
		{"another namespace", syscall.CLONE_NEWNET, nil},
		{"another user", 0, []string{"65534"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := child("readonly", tt.args...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: tt.flags}
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			want := fmt.Sprintf("readonly=true notable=false read=%d keys=%d\nset %s to %d: ", before.max, before.max,
				KeyMax, before.max+1)
			if !strings.HasPrefix(string(out), want) || !strings.Contains(string(out), "CAP_NET_ADMIN") {
				t.Errorf("got\n%swant\n%s…", out, want)
			}
			t.Logf("%s", out)
			if now, err := a.read(); err != nil || now != before {
				t.Errorf("changed: %+v, %v", now, err)
			}
		})
	}
}
