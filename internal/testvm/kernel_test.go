package testvm

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestPartsOfAKernel(t *testing.T) {
	for _, tt := range []struct {
		name, depends string
		want          []string
	}{
		{"the newest is asked for", "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n",
			[]string{"linux-image-6.1.0-56-cloud-amd64"}},
		{"modules and more", "linux-image-7.2-cloud-amd64\n  Depends: kmod\n  Depends: linux-base\n" +
			" |Depends: dracut\n    dracut\n  Depends: linux-base-7.2-cloud-amd64\n  Depends: linux-modules-7.2-cloud-amd64\n" +
			"  Suggests: linux-doc-7.2\n  Breaks: linux-image-7.1-cloud-amd64\n",
			[]string{"linux-base-7.2-cloud-amd64", "linux-modules-7.2-cloud-amd64"}},
		{"nothing", "linux-base\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, m := range partOfKernel.FindAllStringSubmatch(tt.depends, -1) {
				got = append(got, m[1])
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestPackagesAreKept(t *testing.T) {
	dir := t.TempDir()
	wantKept := func(want ...string) {
		t.Helper()
		got, age, err := readKept(dir, "sid")
		if err != nil || !slices.Equal(got, want) || age > time.Hour {
			t.Fatalf("kept %q (of %v ago, %v), want %q", got, age, err, want)
		}
	}
	wantKept()
	for _, name := range []string{"a.deb", "b.deb", "c.deb"} {
		write(t, filepath.Join(dir, name), name, 0o644)
	}
	if err := keep(dir, "sid", []string{"a.deb", "b.deb"}, nil); err != nil {
		t.Fatal(err)
	}
	wantKept("a.deb", "b.deb")
	if err := keep(dir, "sid", []string{"b.deb", "c.deb"}, []string{"a.deb", "b.deb"}); err != nil {
		t.Fatal(err)
	}
	wantKept("b.deb", "c.deb")
	if _, err := os.Stat(filepath.Join(dir, "a.deb")); err == nil {
		t.Error("a package that another takes the place of is still there")
	}
	if err := os.Remove(filepath.Join(dir, "b.deb")); err != nil {
		t.Fatal(err)
	}
	wantKept() // one is missing: all are fetched anew
}

func TestWhereAKernelLies(t *testing.T) {
	for _, tt := range []struct {
		name    string
		files   []string
		boot    string // empty: an error
		modules string
	}{
		{"bullseye", []string{"boot/vmlinuz-5.10", "lib/modules/5.10/modules.order"}, "boot/vmlinuz-5.10", "lib/modules/5.10"},
		{"trixie", []string{"boot/vmlinuz-6.12", "usr/lib/modules/6.12/modules.order"}, "boot/vmlinuz-6.12", "usr/lib/modules/6.12"},
		{"sid", []string{"usr/lib/modules/7.2/vmlinuz"}, "usr/lib/modules/7.2/vmlinuz", "usr/lib/modules/7.2"},
		{"no kernel", []string{"usr/lib/modules/7.2/modules.order"}, "", ""},
		{"no modules", []string{"boot/vmlinuz-5.10"}, "", ""},
		{"modules of another", []string{"boot/vmlinuz-5.10", "lib/modules/6.1/modules.order"}, "", ""},
		{"two kernels", []string{"usr/lib/modules/7.1/vmlinuz", "usr/lib/modules/7.2/vmlinuz"}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := t.TempDir()
			for _, file := range tt.files {
				write(t, filepath.Join(tree, file), "", 0o644)
			}
			k, err := unpacked(tree)
			if tt.boot == "" {
				if err == nil {
					t.Errorf("%+v, want an error", k)
				}
				return
			}
			want := Kernel{
				Release: filepath.Base(tt.modules), boot: filepath.Join(tree, tt.boot), modules: filepath.Join(tree, tt.modules),
			}
			if k != want || err != nil {
				t.Errorf("%+v, %v, want %+v", k, err, want)
			}
		})
	}
}

func TestNamesOfModules(t *testing.T) {
	for _, tt := range []struct{ file, want string }{
		{"nf_conntrack.ko", "nf_conntrack"},
		{"nf_conntrack.ko.xz", "nf_conntrack"},
		{"crc32c-intel.ko.zst", "crc32c_intel"},
		{"modules.builtin", ""},
		{"nf_conntrack.ko.gz.part", ""},
	} {
		t.Run(tt.file, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "kernel/net", tt.file), "", 0o644)
			found := findModules(t, Kernel{modules: dir})
			if path, ok := found[tt.want]; ok != (tt.want != "") || ok && filepath.Base(path) != tt.file {
				t.Errorf("found %v, want %q", found, tt.want)
			}
		})
	}
}

func TestConsole(t *testing.T) {
	var c Console
	for _, part := range []string{"one\r\ntw", "o\n", "thr"} {
		if n, err := c.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	var got []string
	for _, l := range c.Since(0) {
		got = append(got, l.Text)
	}
	if !slices.Equal(got, []string{"one", "two"}) || len(c.Since(1)) != 1 {
		t.Errorf("lines %q", got)
	}
}
