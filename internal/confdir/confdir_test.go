package confdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

func open(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestListKeepsThePrecedence(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"etc/x.d", "run/x.d", "usr/lib/x.d"} {
		must(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	write := func(name, text string) { must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)) }
	write("usr/lib/x.d/b.conf", "usr b")
	write("usr/lib/x.d/a.conf", "usr a")
	write("run/x.d/a.conf", "run a")
	write("etc/x.d/README", "no")
	write("etc/other", "linked")
	must(t, os.Symlink("usr/lib", filepath.Join(dir, "lib")), os.Symlink("/etc/other", filepath.Join(dir, "etc/x.d/c.conf")),
		os.Symlink("/nowhere", filepath.Join(dir, "etc/x.d/a.conf")), os.Mkdir(filepath.Join(dir, "etc/x.d/d.conf"), 0o755))
	l := List(open(t, dir), []string{"/etc/x.d", "/run/x.d", "/usr/lib/x.d", "/lib/x.d", "/not/there", "/etc/other"}, ".conf")
	var got []string
	for _, f := range l.Files {
		got = append(got, f.Path+"="+string(f.Data))
	}
	want := []string{"/etc/x.d/a.conf=", "/run/x.d/a.conf=run a", "/usr/lib/x.d/a.conf=usr a", "/usr/lib/x.d/b.conf=usr b", "/etc/x.d/c.conf=linked", "/etc/x.d/d.conf="}
	if !slices.Equal(got, want) || len(l.Unlisted) != 0 {
		t.Errorf("got %q, %v; want %q", got, l.Unlisted, want)
	}
	got = nil
	for _, f := range First(l.Files) {
		got = append(got, f.Path)
	}
	if want := []string{"/etc/x.d/a.conf", "/usr/lib/x.d/b.conf", "/etc/x.d/c.conf", "/etc/x.d/d.conf"}; !slices.Equal(got, want) {
		t.Errorf("what counts is %q, want %q", got, want)
	}
	if target := l.Files[4].Target; target != "/etc/other" {
		t.Errorf("the link leads to %q", target)
	}
	if f := l.Files[0]; !errors.Is(f.Err, fs.ErrNotExist) || f.Unread() {
		t.Errorf("a link that leads nowhere: %v, unread %v", f.Err, f.Unread())
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o755), os.WriteFile(filepath.Join(dir, "a/f"), nil, 0o644),
		os.Symlink("/a/b", filepath.Join(dir, "l")), os.Symlink("../../../../a/f", filepath.Join(dir, "a/b/up")), os.Symlink("loop", filepath.Join(dir, "loop")))
	root := open(t, dir)
	for name, want := range map[string]string{
		"/l": "a/b", "l/../f": "a/f", "/l/up": "a/f", "/a//./b": "a/b", "/../a/f": "a/f", "/": ".",
	} {
		if got, err := Resolve(root, name); got != want || err != nil {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := Resolve(root, "loop"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "x.d"), 0o755), os.WriteFile(filepath.Join(dir, "x.d/large.conf"), []byte(strings.Repeat("#", MaxFile+1)), 0o644),
		syscall.Mkfifo(filepath.Join(dir, "x.d/pipe.conf"), 0o644))
	files := List(open(t, dir), []string{"x.d"}, ".conf").Files
	if !files[0].Unread() || files[0].Data != nil {
		t.Errorf("a large file: %v, %d bytes", files[0].Err, len(files[0].Data))
	}
	if files[1].Err == nil || files[1].Unread() {
		t.Errorf("a pipe: %v, unread %v", files[1].Err, files[1].Unread())
	}
}

// TestAsAnybody is run again as an ordinary user, to whom a file and a directory are shut.
func TestAsAnybody(t *testing.T) {
	dir := os.Getenv("CONFDIR_SHUT")
	if dir == "" {
		testhost.NeedRoot(t)
		dir = testhost.PublicDir(t)
		must(t, os.MkdirAll(filepath.Join(dir, "a.d"), 0o755), os.Mkdir(filepath.Join(dir, "b.d"), 0o700), os.WriteFile(filepath.Join(dir, "a.d/x.conf"), nil, 0o600))
		if out, err := testhost.AsNobody(t, t.Name(), "CONFDIR_SHUT="+dir).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	l := List(open(t, dir), []string{"/a.d", "/b.d"}, ".conf")
	if len(l.Files) != 1 || !l.Files[0].Unread() {
		t.Errorf("files %+v", l.Files)
	}
	if len(l.Unlisted) != 1 || l.Unlisted[0].Path != "/b.d" || !errors.Is(l.Unlisted[0].Err, fs.ErrPermission) {
		t.Errorf("unlisted %+v", l.Unlisted)
	}
}
