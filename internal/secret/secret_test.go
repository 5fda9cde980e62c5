package secret_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/secret"
)

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, setting, want string
		wrong               string // in the error
	}{
		{"a line", write(t, "hunter2\n", 0o600), "hunter2", ""},
		{"for its group", write(t, "hunter2", 0o640), "hunter2", ""},
		{"several lines", write(t, "\r\none\ntwo\r\n\n", 0o400), "one\ntwo", ""},
		{"empty", write(t, " \n", 0o600), "", "is empty"},
		{"for everybody", write(t, "hunter2", 0o604), "", "can be read by every user (mode 0604)"},
		{"too large", write(t, strings.Repeat("x", 64<<10+1), 0o600), "", "is larger than 65536 bytes"},
		{"just not too large", write(t, strings.Repeat("x", 64<<10), 0o600), strings.Repeat("x", 64<<10), ""},
		{"not there", filepath.Join(dir, "none"), "", "no such file"},
		{"a directory", dir, "", "is not a regular file"},
		{"a pipe that nobody writes to", pipe, "", "is not a regular file"},
		{"a credential without systemd", "pager.key", "", "LoadCredential=pager.key:"},
		{"no setting", "", "", "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", "")
			got, err := secret.Read(c.setting)
			if got != c.want || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("got %d bytes, %v; want %d, %q", len(got), err, len(c.want), c.wrong)
			}
		})
	}
}

func TestReadCredential(t *testing.T) {
	file := write(t, "hunter2\n", 0o400)
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(file))
	if got, err := secret.Read("secret"); got != "hunter2" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
