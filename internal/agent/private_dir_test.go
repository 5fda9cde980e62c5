package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

func TestPrivateDirs(t *testing.T) {
	testhost.NeedRoot(t)
	for _, c := range []struct {
		name     string
		mode     os.FileMode
		uid, gid int
		want     string // empty: taken
	}{
		{"root's own", 0o700, 0, 0, ""},
		{"others may read", 0o755, 0, testhost.Nobody, ""},
		{"root's group may write", 0o775, 0, 0, ""},
		{"everybody may write", 0o777, 0, 0, "every user"},
		{"everybody may write, sticky", 0o777 | os.ModeSticky, 0, 0, "every user"},
		{"a group may write", 0o770, 0, testhost.Nobody, "by the group nogroup"},
		{"another user's", 0o700, testhost.Nobody, 0, "belongs to nobody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, c.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(dir, c.uid, c.gid); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"state_dir", "runtime_dir"} {
				h := newScratch(t)
				if key == "state_dir" {
					h.cfg.StateDir = dir
				} else {
					h.cfg.RuntimeDir = dir
				}
				a, err := Open(t.Context(), h.cfg)
				if err == nil {
					err = a.Close()
				}
				switch {
				case c.want == "" && err != nil:
					t.Errorf("%s: %v", key, err)
				case c.want != "" && (err == nil || !strings.Contains(err.Error(), key+" "+dir) || !strings.Contains(err.Error(), c.want)):
					t.Errorf("%s: %v, want a word of %q", key, err, c.want)
				}
			}
			m, err := ListenMetrics(MetricsConfig{Listen: "unix:" + filepath.Join(dir, "m.sock"), Status: statusFunc(Status{})})
			if err == nil {
				err = errors.Join(m.listener.Close(), os.Remove(filepath.Join(dir, "m.sock")))
			}
			if (err != nil) != (c.want != "") {
				t.Errorf("metrics.listen: %v", err)
			}
			if left, err := os.ReadDir(dir); c.want != "" && (err != nil || len(left) > 0) {
				t.Errorf("something was written into it: %v, %v", left, err)
			}
		})
	}
}

func TestPrivateDirsMissing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "none"), file} {
		if err := checkPrivate("state_dir", path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestRuntimeDirMode: nobody else enters the runtime directory, or with a group for the sockets may only pass through.
func TestRuntimeDirMode(t *testing.T) {
	for _, c := range []struct {
		shared     bool
		was, wants os.FileMode // was 0: not there
	}{{false, 0, 0o700}, {true, 0, 0o711}, {true, 0o755, 0o755}, {true, 0o750, 0o751}, {false, 0o755, 0o755}} {
		dir := filepath.Join(t.TempDir(), "run")
		if c.was != 0 {
			if err := os.Mkdir(dir, c.was); err != nil {
				t.Fatal(err)
			}
		}
		if err := openRuntimeDir(dir, c.shared); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != c.wants {
			t.Errorf("%+v: %v, %v", c, info.Mode(), err)
		}
	}
}
