package apply

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// The settings, by the names that sysctl(8) knows them by.
const (
	KeyMax     = "net.netfilter.nf_conntrack_max"
	KeyOldMax  = "net.nf_conntrack_max" // the same variable; in the first network namespace only
	KeyBuckets = "net.netfilter.nf_conntrack_buckets"
)

// Errors that a caller tells apart with errors.Is. Those that come back say in their text which setting and which
// values are meant.
var (
	// ErrReadOnly is a setting that cannot be written from here (EACCES, EPERM or EROFS).
	ErrReadOnly = errors.New("read-only")
	// ErrNoTable is a setting that is not there: the module nf_conntrack is not loaded.
	ErrNoTable = errors.New("no connection-tracking table")
	// ErrChanged is a limit that is not the one that the decision rests on. The limit was not written.
	ErrChanged = errors.New("the limit was changed meanwhile")
	// ErrReadBack is a setting that did not read back as it was written.
	ErrReadBack = errors.New("not read back as written")
	// ErrInvalid is a change that is never made: to 0, above what the kernel takes, downwards as a step.
	ErrInvalid = errors.New("no valid change")
	// ErrTooLow is an undo that would go below what is in use.
	ErrTooLow = errors.New("too close to live use")
	// ErrNotOurs is a file under the name of ours that ctwarden did not write. It is left untouched.
	ErrNotOurs = errors.New("not written by ctwarden")
	// ErrDamaged is a file of ours that cannot be parsed.
	ErrDamaged = errors.New("damaged")
	// ErrOtherMachine is a persisted limit that was found out on another machine.
	ErrOtherMachine = errors.New("written on another machine")
)

// Stages at which [Config.Fail] is called, in a step and in its undo alike.
const (
	StageIntent         = "intent"           // the intent is recorded, nothing is written
	StageBuckets        = "buckets"          // the hash is resized
	StageFirstKey       = "first_key"        // the first name of the limit is written
	StageBothKeys       = "both_keys"        // both are
	StageReadBack       = "read_back"        // both are read back
	StageOutcome        = "outcome"          // the outcome is recorded
	StageBeforeForget   = "before_forget"    // the caller has committed the step, its intent is still there
	StageAfterForget    = "after_forget"     // the intent is gone
	StageRepaired       = "repaired"         // Recover has written the name of the limit that was missing
	StageJudged         = "judged"           // Recover has recorded its answer
	StageBeforePersist  = "before_persist"   // the sysctl.d file is not yet touched
	StageAfterPersist   = "after_persist"    // it is in place and on disk
	StageBeforeWithdraw = "before_withdraw"  // the sysctl.d file is about to be removed
	StageAfterWithdraw  = "after_withdraw"   // it is gone from the disk
	StageBeforeBootMark = "before_boot_mark" // the boot's step is taken and not yet marked
	StageAfterBootMark  = "after_boot_mark"  // it is
)

// Config says where things are and who writes.
type Config struct {
	// Root is the directory that stands for "/", for the kernel's settings and the sysctl.d files. Empty: "/".
	Root string
	// RuntimeDir holds the intents and the mark of the boot. It should be memory. It is created when it is missing.
	RuntimeDir string
	// PersistFile is the sysctl.d file that is ours, as a path below Root.
	PersistFile string
	// ModuleFile is the modules-load.d file that comes and goes with it, as a path below Root. Empty: there is none.
	ModuleFile string
	// Host, MachineID and Version go into the header of the sysctl.d file.
	Host, MachineID, Version string
	// BootID tells this boot's intents from another's.
	BootID string
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Resized is told of each resize of the hash as soon as it is over, within [Applier.Step]: how it went, its Entries
	// left to whoever knows them, and its error. Nil: nobody is told.
	Resized func(remediate.Resize, error)
	// Fail is called between the stages of a write. It is nil but in tests, which stop the program there.
	Fail func(stage string)
}

// Applier writes the limit. Its methods are for one goroutine at a time.
type Applier struct {
	cfg  Config
	root *os.Root
	// sysNet is the directory of the settings; nil until one was opened.
	sysNet *os.Root
	// wanted is asked right before Persist and Unpersist change a file.
	wanted func() error
}

// New opens the root. It writes nothing. [Applier.Close] releases the root.
func New(cfg Config) (*Applier, error) {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Fail == nil {
		cfg.Fail = func(string) {}
	}
	if cfg.Resized == nil {
		cfg.Resized = func(remediate.Resize, error) {}
	}
	cfg.PersistFile = path.Join("/", cfg.PersistFile)
	if cfg.ModuleFile != "" {
		cfg.ModuleFile = path.Join("/", cfg.ModuleFile)
	}
	root, err := os.OpenRoot(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	return &Applier{cfg: cfg, root: root, wanted: func() error { return nil }}, nil
}

// OnlyWhile has wanted asked right before [Applier.Persist] and [Applier.Unpersist] change a file: where it fails, that
// is their error, and the file stays as it was.
func (a *Applier) OnlyWhile(wanted func() error) { a.wanted = wanted }

// Close releases the root.
func (a *Applier) Close() error {
	var err error
	if a.sysNet != nil {
		err = a.sysNet.Close()
	}
	return errors.Join(err, a.root.Close())
}

// sysNet is the directory of all settings. It stays open: a step is not to wait for each part of each path.
const sysNet = "proc/sys/net/"

// sysPath is where a setting lies below the root.
func sysPath(key string) string { return "proc/sys/" + strings.ReplaceAll(key, ".", "/") }

func (a *Applier) openSetting(key string, flag int) (*os.File, error) {
	if a.sysNet == nil {
		dir, err := a.root.OpenRoot(sysNet)
		if err != nil {
			return nil, err
		}
		a.sysNet = dir
	}
	return a.sysNet.OpenFile(strings.TrimPrefix(sysPath(key), sysNet), flag, 0)
}
