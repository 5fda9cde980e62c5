package apply

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const moduleFile = "etc/modules-load.d/ctwarden.conf"

func newWithModule(t *testing.T) *fake {
	f := newFake(t, 131072, 16384)
	f.cfg.ModuleFile = "/" + moduleFile
	return f
}

// module is the file's text, empty where there is none.
func (f *fake) module() string {
	text, err := os.ReadFile(filepath.Join(f.root, moduleFile))
	if err != nil {
		return ""
	}
	return string(text)
}

func TestModuleComesAndGoesWithTheLimit(t *testing.T) {
	f := newWithModule(t)
	got, err := f.Persist(effective, PersistMeta{})
	if err != nil || got.LoadsLate != "" || got.Path == "" {
		t.Fatalf("%+v, %v", got, err)
	}
	want := "# ctwarden-module: 1\n" +
		"# Written by ctwarden 1.2.3 with /etc/sysctl.d/99-zz-ctwarden.conf, whose limit would be lost if this module were loaded\n" +
		"# after the settings of sysctl.d are applied, as it is by a firewall.\n# To undo this: ctwarden revert\nnf_conntrack\n"
	if f.module() != want {
		t.Errorf("got\n%s\nwant\n%s", f.module(), want)
	}
	fi, err := os.Stat(filepath.Join(f.root, moduleFile))
	if err != nil || fi.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", fi, err)
	}
	if removed, err := f.Unpersist(); !removed || err != nil || f.module() != "" || f.ours() != "" {
		t.Errorf("%v, %v: %q, %q", removed, err, f.module(), f.ours())
	}
}

func TestModuleWithoutALimit(t *testing.T) {
	f := newWithModule(t)
	if _, err := f.Persist(effective, PersistMeta{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(f.root, ourFile)); err != nil { // a kill in between, or a person
		t.Fatal(err)
	}
	if removed, err := f.Unpersist(); removed || err != nil || f.module() != "" {
		t.Errorf("%v, %v: %q is left", removed, err, f.module())
	}
}

func TestModuleIsMendedWhereTheLimitIsKept(t *testing.T) {
	f := newWithModule(t)
	f.plant(ourFile, f.text(200000, 0)) // of a version that wrote no such file
	got, err := f.Persist(effective, PersistMeta{})
	if err != nil || !got.Kept || !strings.HasPrefix(f.module(), moduleMark+"\n") {
		t.Errorf("%+v, %v: %q", got, err, f.module())
	}
}

func TestModuleGoesWithAWithdrawnLimit(t *testing.T) {
	f := newWithModule(t)
	if _, err := f.Persist(effective, PersistMeta{}); err != nil {
		t.Fatal(err)
	}
	f.plant("etc/sysctl.d/10-a.conf", KeyMax+" = 200000\n")
	got, err := f.Persist(effective, PersistMeta{})
	if err != nil || got.Withdrawn == nil || f.module() != "" || f.ours() != "" {
		t.Errorf("%+v, %v: %q, %q", got, err, f.module(), f.ours())
	}
}

func TestModuleFileOfSomebodyElse(t *testing.T) {
	tests := []struct {
		name  string
		plant func(f *fake, file string) error
	}{
		{"a file", func(_ *fake, file string) error { return os.WriteFile(file, []byte("nf_conntrack\n"), 0o644) }},
		{"our mark further on", func(_ *fake, file string) error { return os.WriteFile(file, []byte("#\n"+moduleMark+"\n"), 0o644) }},
		{"a longer mark", func(_ *fake, file string) error { return os.WriteFile(file, []byte(moduleMark+"1\n"), 0o644) }},
		{"a mask", func(_ *fake, file string) error { return os.Symlink("/dev/null", file) }},
		{"a link to a file with our mark", func(f *fake, file string) error {
			f.plant("etc/elsewhere", moduleMark+"\n")
			return os.Symlink("../elsewhere", file)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newWithModule(t)
			file := filepath.Join(f.root, moduleFile)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), tt.plant(f, file)); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Persist(effective, PersistMeta{})
			if err != nil || got.Path == "" || !strings.Contains(got.LoadsLate, moduleFile+": "+ErrNotOurs.Error()) {
				t.Errorf("%+v, %v", got, err)
			}
			if removed, err := f.Unpersist(); !removed || err != nil {
				t.Errorf("%v, %v", removed, err)
			}
			after, err := os.Lstat(file)
			if err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
				t.Errorf("touched: %v, %v", after, err)
			}
		})
	}
}

func TestInForce(t *testing.T) {
	tests := []struct {
		name             string
		max, old, bucket uint64
		ok               bool
	}{
		{"both names", 131072, 131072, 16384, true},
		{"one name, as outside of the first namespace", 131072, 0, 16384, true},
		{"without buckets, as very old kernels", 131072, 131072, 0, true},
		{"another value", 131071, 131071, 16384, false},
		{"the names differ", 131072, 65536, 16384, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, 1, 1)
			f.setAll(tt.max, tt.old, tt.bucket)
			buckets, err := f.InForce(131072)
			if tt.ok != (err == nil) || !tt.ok && !errors.Is(err, ErrChanged) || tt.ok && buckets != tt.bucket {
				t.Errorf("%d, %v", buckets, err)
			}
		})
	}
	f := newFake(t, 1, 1)
	f.setAll(0, 0, 0)
	if _, err := f.InForce(131072); !errors.Is(err, ErrNoTable) {
		t.Errorf("without a table: %v", err)
	}
}

func TestMayPersist(t *testing.T) {
	f := newFake(t, 1, 1)
	if !f.MayPersist() { // the directory is yet to be made
		t.Error("not in a root of its own")
	}
	f.plant(ourFile, "")
	if !f.MayPersist() {
		t.Error("not in a directory of its own")
	}
	f.cfg.PersistFile = "/proc/sys/net/netfilter/nf_conntrack_max/x.conf"
	if f.MayPersist() {
		t.Error("below a file")
	}
}
