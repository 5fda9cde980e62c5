package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// JournalConfig says which journal to read.
type JournalConfig struct {
	// Directory holds the journal files, at any depth of one. Empty: this machine's own journal.
	Directory string
	// Host is the host whose records count, where Directory is set; "" or "*" is any. The machine's own journal holds
	// its own kernel's records alone, under whatever name it had at the time, so there the name is not looked at.
	Host string
	// BootID is this boot's, 32 hex digits. Empty: it is read from /proc.
	BootID string
	// Position is Batch.Position.Data as last saved. Nil: the first start ever.
	Position []byte
	// Lookback is how old the records may be that the first start ever reads. Zero: only what comes from now on.
	Lookback time.Duration
	// Required makes Run fail where the journal cannot be read at first; otherwise it says so and goes on trying.
	Required bool
	// Beat is how often it sends a batch at least, and how often it looks all the same where nothing was told of. Zero:
	// BeatEvery.
	Beat time.Duration
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *zap.Logger
}

// journalDirs are where journald keeps its files: until the next boot, and for good. The files are one level below, in
// a directory named after the machine.
func journalDirs(dir string) []string {
	if dir != "" {
		return []string{dir}
	}
	return []string{"/run/log/journal", "/var/log/journal"}
}

var (
	errNoJournal     = errors.New("there are no journal files")
	errJournalLocked = errors.New("the journal files are not readable")
	errNoLibrary     = errors.New("libsystemd.so.0 cannot be loaded")
	errNoJournalCode = errors.New("this program was built without cgo and so without the journal source")
)

// checkJournal tells why nothing would be read from the journal. libsystemd does not: without permission it finds no
// records and no error.
//
// The system's own files are asked for where there are any, since they hold the kernel's records; a user may read
// user-1000.journal without being able to read those.
func checkJournal(dir string) error {
	var all, system []string
	for _, d := range journalDirs(dir) {
		for _, pattern := range []string{"*.journal", "*/*.journal"} {
			files, err := filepath.Glob(filepath.Join(d, pattern))
			if err != nil {
				return fmt.Errorf("list %s: %w", d, err)
			}
			all = append(all, files...)
		}
		if err := listable(d); err != nil {
			return err
		}
	}
	for _, f := range all {
		if strings.HasPrefix(filepath.Base(f), "system") {
			system = append(system, f)
		}
	}
	if len(system) == 0 {
		system = all
	}
	if len(system) == 0 {
		return fmt.Errorf("%w in %s", errNoJournal, strings.Join(journalDirs(dir), " or "))
	}
	return openAny(system)
}

// listable fails where a directory is there and must not be listed.
func listable(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errJournalLocked, err)
	}
	return f.Close()
}

// openAny fails where none of the files can be opened.
func openAny(files []string) error {
	var last error
	for _, file := range files {
		f, err := os.Open(file)
		if err == nil {
			return f.Close()
		}
		last = err
	}
	return fmt.Errorf("%w: %w", errJournalLocked, last)
}

// journalProblem explains to an operator why the journal cannot be read.
func journalProblem(err error) State {
	st := State{
		Problem: err.Error(),
		Absent:  errors.Is(err, errNoJournal) || errors.Is(err, errNoJournalCode) || errors.Is(err, errNoLibrary),
	}
	switch {
	case errors.Is(err, errNoJournalCode):
		st.Remedy = "install the package built with cgo, or set sources.journal.enabled: false; the other sources go on"
	case errors.Is(err, errJournalLocked):
		st.Remedy = "run as root or add the agent's user to the group systemd-journal"
	case errors.Is(err, errNoJournal):
		st.Remedy = "nothing needs doing where systemd-journald does not run; it is read as soon as it appears"
	case errors.Is(err, errNoLibrary):
		st.Remedy = "install libsystemd0 (systemd-libs), or set sources.journal.enabled: false"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENOSPC):
		st.Remedy = "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches; it is tried again every few seconds"
	default:
		st.Remedy = "see whether journalctl -k works; it is tried again every few seconds"
	}
	return st
}
