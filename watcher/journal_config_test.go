package watcher

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// unreadableEnv hands the directory to TestJournalUnreadableChild.
const unreadableEnv = "CTWARDEN_TEST_JOURNAL"

// TestJournalUnreadableChild is not a test: it is what TestJournalUnreadable runs as an ordinary user.
func TestJournalUnreadableChild(t *testing.T) {
	dir := os.Getenv(unreadableEnv)
	if dir == "" {
		return
	}
	err := checkJournal(dir)
	st := journalProblem(err)
	if !errors.Is(err, errJournalLocked) || !strings.Contains(st.Remedy, "systemd-journal") {
		t.Errorf("state %+v", st)
	}
}

// TestJournalUnreadable sees that missing permission is not taken for an empty journal, as libsystemd has it.
func TestJournalUnreadable(t *testing.T) {
	testhost.NeedRoot(t)
	dir := testhost.PublicDir(t)
	machine := filepath.Join(dir, "0123456789abcdef0123456789abcdef")
	if err := os.Mkdir(machine, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := checkJournal(dir); !errors.Is(err, errNoJournal) {
		t.Errorf("an empty directory: %v", err)
	}
	files := map[string]os.FileMode{"system.journal": 0o640, "user-65534.journal": 0o644}
	for name, mode := range files {
		if err := os.WriteFile(filepath.Join(machine, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkJournal(dir); err != nil {
		t.Errorf("as root: %v", err)
	}
	asNobody(t, "TestJournalUnreadableChild", unreadableEnv+"="+dir)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	asNobody(t, "TestJournalUnreadableChild", unreadableEnv+"="+dir)
}
