//go:build amd64 || arm64

package apply

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// childAct does one thing below the root args[0], to its end.
func childAct(args []string) {
	cfg := configFor(args[0])
	cfg.ModuleFile = "/" + moduleFile
	a, err := New(cfg)
	if err != nil {
		panic(err)
	}
	switch args[1] {
	case "step":
		m := meta
		m.Incident = []byte(`{"incident_id":"inc-1"}`)
		_, err = a.Step(raise(100, 200, 80), m)
	case "undo":
		_, err = a.Undo(remediate.Step{ID: "step-1", From: 50, To: 100}, UndoMeta{To: 50, Live: 10})
	case "recover":
		_, err = a.Recover()
	case "forget":
		err = a.Forget(meta.ID)
	case "persist":
		_, err = a.Persist(effective, PersistMeta{})
	case "withdraw":
		_, err = a.Unpersist()
	case "mark":
		err = a.MarkBootApplied()
	}
	if err != nil {
		panic(err)
	}
}

// everywhere has a process do something on a fresh host, and kills it before each system call by which it changes
// anything, one host each; look is called with what the kill left. It returns the number of kills.
func everywhere(t *testing.T, what string, prepare func() *fake, look func(f *fake, n int)) int {
	t.Helper()
	for n := 1; ; n++ {
		f := prepare()
		killed, err := killAt(child("act", f.root, what), nth(n))
		if errors.Is(err, fs.ErrPermission) {
			testhost.Skip(t, "needs to trace a process of its own: "+err.Error())
		}
		if err != nil {
			t.Fatalf("%s, killed at change %d: %v", what, n, err)
		}
		if !killed {
			return n - 1
		}
		look(f, n)
	}
}

// TestPromiseKilledAtEveryInstruction kills a process before each system call by which a step, an undo, the recovery
// of either, the sysctl.d file and the mark of the boot change anything, and looks at what the next start makes of it.
func TestPromiseKilledAtEveryInstruction(t *testing.T) {
	kills := 0
	for what, to := range map[string]uint64{"step": 200, "undo": 50} {
		fresh := func() *fake { return newFake(t, 100, 50) }
		n := everywhere(t, what, fresh, func(crashed *fake, n int) {
			if n%6 == 0 || testhost.Long() { // and the recovery is killed as well
				kills += everywhere(t, "recover", crashed.copy, func(f *fake, _ int) { f.recovers(to) })
			}
			crashed.recovers(to)
		})
		if kills += n; n < 10 {
			t.Errorf("%s: only %d changes", what, n)
		}
	}
	kills += everywhere(t, "forget", func() *fake {
		f := newFake(t, 100, 50)
		if _, err := f.Step(raise(100, 200, 80), meta); err != nil {
			t.Fatal(err)
		}
		return f
	}, func(f *fake, _ int) { f.recovers(200) })
	for _, what := range []string{"persist", "withdraw"} {
		kills += everywhere(t, what, func() *fake {
			f := newWithModule(t)
			f.plant(ourFile, f.text(100000, 0))
			if what == "withdraw" {
				f.plant(moduleFile, string(f.moduleText()))
			}
			return f
		}, func(f *fake, _ int) { f.wholeFile(what) })
	}
	kills += everywhere(t, "mark", func() *fake { return newFake(t, 100, 50) }, func(f *fake, _ int) {
		marked := f.BootApplied()
		f.recovers(200)
		if f.BootApplied() != marked {
			t.Error("the mark changes with a look at it")
		}
	})
	testhost.Held(t, "3.7 killed at every instruction", "killed before each of %d changing system calls: the next start "+
		"found the old state or the new one, and said so", kills)
}

// TestStepWaitsForNoDisk looks for a system call that syncs: where runtime_dir is no memory, each would cost a step the
// time of a disk.
func TestStepWaitsForNoDisk(t *testing.T) {
	for what, want := range map[string]bool{"step": false, "undo": false, "recover": false, "mark": false, "persist": true} {
		f := newFake(t, 100, 50)
		got, err := killAt(child("act", f.root, what), syncing)
		if errors.Is(err, fs.ErrPermission) {
			testhost.Skip(t, "needs to trace a process of its own: "+err.Error())
		}
		if got != want || err != nil {
			t.Errorf("%s: syncs %v, want %v; %v", what, got, want, err)
		}
	}
}

// copy is another host that looks the same.
func (f *fake) copy() *fake {
	f.t.Helper()
	g := &fake{t: f.t, root: f.t.TempDir()}
	if err := os.CopyFS(g.root, os.DirFS(f.root)); err != nil {
		f.t.Fatal(err)
	}
	g.reopen(nil)
	return g
}

// silent leaves out the texts: the first look also says what it mended.
func silent(found []Recovery) []Recovery {
	out := slices.Clone(found)
	for i := range out {
		out[i].Text = ""
	}
	return out
}

// recovers fails the test unless the next start finds the limit at 100 or at to, under both names, and an intent that
// says which; twice over, with the same answer.
func (f *fake) recovers(to uint64) {
	f.t.Helper()
	left, crashed := f.intents(), f.state()
	got, err := f.Recover()
	again, err2 := f.Recover()
	if errors.Join(err, err2) != nil || !reflect.DeepEqual(silent(got), silent(again)) || len(got) > 1 {
		f.t.Fatalf("%+v, %v; again %+v, %v", got, err, again, err2)
	}
	v, err := f.read()
	if err != nil || v.max != v.oldMax || v.max != 100 && v.max != to {
		f.t.Errorf("left with %s, now %s, %v", crashed, f.state(), err)
	}
	switch {
	case len(got) == 0 && len(left) > 0 && strings.HasPrefix(filepath.Base(left[0]), "intent-"):
		f.t.Errorf("an intent is passed over: %v", left)
	case len(got) == 0 && v.max == to && !strings.Contains(crashed, "200/200"):
		f.t.Errorf("the limit is %s, and nobody says why", f.state())
	case len(got) == 1 && (got[0].Result == ResultDone) != (v.max == to):
		f.t.Errorf("%+v; the limit is %s", got[0], f.state())
	}
	if len(got) == 1 {
		if err := f.Forget(got[0].ID); err != nil {
			f.t.Error(err)
		}
	}
	for _, pattern := range []string{"intent-*", ".*"} {
		if names, _ := filepath.Glob(filepath.Join(f.cfg.RuntimeDir, pattern)); len(names) > 0 {
			f.t.Errorf("left behind: %v", names)
		}
	}
}

// wholeFile fails the test unless the sysctl.d file is the old one or the new one, and nothing else is left after the
// next start.
func (f *fake) wholeFile(what string) {
	f.t.Helper()
	p, there, err := f.Persisted()
	old := there && p.Max == 100000
	if err != nil || !old && what == "persist" && p.Max != 131072 || !old && what == "withdraw" && there {
		f.t.Errorf("%s: %+v, %v, %v", what, p, there, err)
	}
	// The module is loaded in time for as long as there is a limit that was written with it.
	if text := f.module(); text != "" && text != string(f.moduleText()) || text == "" && there && (what == "withdraw" || !old) {
		f.t.Errorf("%s: the limit is there: %v, new: %v; the module's file: %q", what, there, !old, text)
	}
	if _, err := f.Recover(); err != nil {
		f.t.Error(err)
	}
	for _, dir := range []string{filepath.Dir(ourFile), filepath.Dir(moduleFile)} {
		if names, _ := filepath.Glob(filepath.Join(f.root, dir, ".*")); len(names) > 0 {
			f.t.Errorf("left behind: %v", names)
		}
	}
}
