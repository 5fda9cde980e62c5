package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/persist"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// throughHelper makes the sysctl.d directory one that the agent cannot write to, and has a helper at a socket that can. It
// returns how many requests the helper has answered.
func (f *fragile) throughHelper(t *testing.T) (answered func() int) {
	t.Helper()
	// The same host once more, without the mount that follows.
	writable := t.TempDir()
	if err := unix.Mount(f.root, writable, "", unix.MS_BIND, ""); err != nil {
		testhost.Skip(t, "mount a directory: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(writable, unix.MNT_DETACH) })
	bindMount(t, filepath.Join(f.root, "etc/sysctl.d"))(true)
	applier, err := apply.New(apply.Config{Root: writable, PersistFile: f.cfg.PersistFile, Host: f.cfg.Host, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { applier.Close() })
	helper := persist.Helper{Applier: applier, Policy: f.cfg.Policy, Users: []uint32{uint32(unix.Geteuid())}}
	f.cfg.PersistSocket = filepath.Join(testhost.PublicDir(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: f.cfg.PersistSocket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan int, 1) // how many so far; whoever takes it puts it back
	served <- 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			if _, err := helper.Serve(conn); err != nil {
				t.Errorf("helper: %v", err)
			}
			conn.Close()
			served <- <-served + 1
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return func() int {
		n := <-served
		served <- n
		return n
	}
}

// TestDecayThroughTheHelper has the sysctl.d file come with two steps and follow them back where the agent cannot write it.
func TestDecayThroughTheHelper(t *testing.T) {
	testhost.NeedRoot(t)
	f := newFragile(t)
	answered := f.throughHelper(t)
	synctest.Test(t, func(t *testing.T) { f.decays(t) })
	if n := answered(); n != 3 {
		t.Errorf("the helper was asked %d times, want to persist, to rewrite and to withdraw", n)
	}
}

// unheardHelper does what it is asked for, as far as it goes, and is not heard.
type unheardHelper struct {
	*apply.Applier
	goes  bool
	err   error
	again bool              // the second withdrawal is heard
	heard apply.Persistence // what it would have told
	calls int
}

func (u *unheardHelper) Persist(s remediate.Step, m apply.PersistMeta) (apply.Persistence, error) {
	if u.calls++; !u.goes {
		return apply.Persistence{}, u.err
	}
	p, err := u.Applier.Persist(s, m)
	if u.calls == 1 {
		u.heard = p
	}
	return apply.Persistence{}, errors.Join(err, u.err)
}

func (u *unheardHelper) Unpersist() (bool, error) {
	if u.calls++; !u.goes {
		return false, u.err
	}
	removed, err := u.Applier.Unpersist()
	if u.again && u.calls == 2 {
		return removed, err
	}
	return false, errors.Join(err, u.err)
}

// setting is a file of sysctl.d that sets the limit.
func setting(name string, limit int) map[string]string {
	return map[string]string{"/etc/sysctl.d/" + name: fmt.Sprintf("net.netfilter.nf_conntrack_max = %d\n", limit)}
}

// TestUnheard has helpers do what they are asked for and not be heard: the files tell it all.
func TestUnheard(t *testing.T) {
	const own, module = "/etc/sysctl.d/99-zz-ctwarden.conf", "/etc/modules-load.d/ctwarden.conf"
	hungUp, tooLate := fmt.Errorf("ask: %w", persist.ErrNoAnswer), fmt.Errorf("ask: %w", os.ErrDeadlineExceeded)
	step := remediate.Step{ID: "s", From: 65536, To: 131072, Reason: remediate.ReasonFull}
	less := remediate.Step{ID: "r", From: 65536, To: 100000, Reason: remediate.ReasonFull}
	more := remediate.Step{ID: "t", From: 131072, To: 262144, Reason: remediate.ReasonFull}
	for name, tt := range map[string]struct {
		err    error
		before *remediate.Step // what is persisted before
		files  map[string]string
		undone bool // nothing was done
		again  bool // the second withdrawal is heard
		calls  int
	}{
		"hung up":            {err: hungUp, calls: 2},
		"hung up once":       {err: hungUp, again: true, calls: 2},
		"too late":           {err: tooLate, calls: 1},
		"kept a higher":      {err: tooLate, before: &more, calls: 1},
		"overridden":         {err: hungUp, files: setting("zz.conf", 7), calls: 2},
		"loads late":         {err: tooLate, files: map[string]string{module: "# not ours\n"}, calls: 1},
		"withdrawn":          {err: tooLate, before: &step, files: setting("10-a.conf", 999999), calls: 1},
		"hung up, not done":  {err: hungUp, undone: true, calls: 2},
		"too late, not done": {err: tooLate, before: &less, undone: true, calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			files, err := apply.New(apply.Config{Root: root, PersistFile: own, ModuleFile: module})
			if err != nil {
				t.Fatal(err)
			}
			defer files.Close()
			if tt.before != nil {
				if _, err := files.Persist(*tt.before, apply.PersistMeta{}); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range tt.files {
				file := filepath.Join(root, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			u := &unheardHelper{Applier: files, goes: !tt.undone, err: tt.err, again: tt.again}
			got, err := asked{u, files}.Persist(step, apply.PersistMeta{})
			if tt.undone != (err != nil) || !reflect.DeepEqual(got, u.heard) || u.calls != tt.calls {
				t.Errorf("%+v, %v after %d calls; want %+v after %d", got, err, u.calls, u.heard, tt.calls)
			}
			if note := got.Withdrawn != nil || got.Overridden != nil || got.LoadsLate != ""; note != (tt.files != nil) {
				t.Errorf("%+v", got)
			}
			there := got.Path != ""
			u.calls = 0
			removed, err := asked{u, files}.Unpersist()
			if tt.again != (err == nil) || removed != there || u.calls != tt.calls {
				t.Errorf("withdrawn: %v, %v after %d calls", removed, err, u.calls)
			}
		})
	}
}

// TestNoHelper has neither a directory to write to nor a helper: the error says what is missing.
func TestNoHelper(t *testing.T) {
	testhost.NeedRoot(t)
	f := newFragile(t)
	f.cfg.PersistSocket = filepath.Join(t.TempDir(), "none")
	bindMount(t, filepath.Join(f.root, "etc/sysctl.d"))(true)
	a := f.open(t)
	_, err := a.lasting().Persist(remediate.Step{From: 65536, To: 131072, Reason: remediate.ReasonFull}, apply.PersistMeta{})
	if err == nil || !strings.Contains(err.Error(), "read-only file system") || !strings.Contains(err.Error(), "ctwarden-persist.socket") {
		t.Errorf("persist: %v", err)
	}
	if removed, err := a.lasting().Unpersist(); removed || err != nil {
		t.Errorf("nothing to remove: %v, %v", removed, err)
	}
}
