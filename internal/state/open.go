package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// lockWait is how long Open waits for another process to let go of the file.
const lockWait = time.Second

// The defaults of [Options].
const (
	DefaultMaxEvents = 100_000
	DefaultMaxBytes  = 256 << 20
)

// ErrLocked says that another process has the file open.
var ErrLocked = errors.New("another agent is running on this state directory")

// ErrNewerSchema says that a newer version of the program wrote the file. It is left as it is.
var ErrNewerSchema = errors.New("the state file was written by a newer version")

// ErrDamaged says that the file was found damaged while it was open. The store answers with it from then on; close it
// and open it again to have the file set aside.
var ErrDamaged = errors.New("the state file is damaged")

// Options bound the store.
type Options struct {
	// MaxEvents bounds the outbox; 0 means DefaultMaxEvents. See [Store.Commit] for what goes first.
	MaxEvents int
	// MaxBytes is the outbox's hard bound, in bytes of the events' documents; 0 means DefaultMaxBytes.
	MaxBytes int64
	// Now names a file that is set aside; nil means time.Now.
	Now func() time.Time
	// Progress is kept up to date while the file is being opened; nil: nobody wants to know.
	Progress *Progress
}

// Opened tells what Open found.
type Opened struct {
	// Fresh is true where the store begins empty.
	Fresh bool
	// SetAside is where a damaged file was moved to; empty where there was none.
	SetAside string
	// Problem says what was wrong, for the operator; it may be set without SetAside where the file could be used.
	Problem string
}

// Open opens the state file at path, or creates it with mode 0600 (and its folder with 0700). A damaged, empty or
// foreign file is renamed to path.damaged-<UTC time> and a fresh one is started. A file on a file system that is mounted
// read-only is opened for reading alone, see [Store.ReadOnly].
//
// Errors: [ErrLocked] after a second, [ErrNewerSchema], or what the operating system said. A file that could not be begun,
// on a full disk, is removed again.
//
// All of the file is read, which takes its time where the outbox is full. [Begin] has the rest of it before.
func Open(path string, opts Options) (*Store, Opened, error) {
	o, err := Begin(path, opts)
	if err != nil {
		return nil, Opened{}, err
	}
	return o.Finish()
}

func (o Options) withDefaults() Options {
	if o.MaxEvents <= 0 {
		o.MaxEvents = DefaultMaxEvents
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// openLocked opens or creates the file and takes its lock. The lock is bbolt's own (flock on the file), taken here
// first so that nobody writes while the pages are checked; bbolt asks for it again on the same descriptor and gets it.
//
// A file that is there is opened without O_CREATE, which a frozen file system does not answer.
func openLocked(path string, opts Options) (s *Store, fresh bool, err error) {
	const flags = unix.O_NOFOLLOW | unix.O_NONBLOCK
	s = &Store{path: path, opts: opts}
	s.file, err = os.OpenFile(path, os.O_RDWR|flags, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		fresh = true
		s.file, err = os.OpenFile(path, os.O_RDWR|flags|os.O_CREATE|os.O_EXCL, 0o600)
	case errors.Is(err, unix.EROFS):
		s.readOnly = true
		s.file, err = os.OpenFile(path, os.O_RDONLY|flags, 0)
	}
	if err != nil {
		return nil, false, err
	}
	if err := lock(path, s.file); err != nil {
		s.file.Close()
		return nil, false, err
	}
	return s, fresh, nil
}

func lock(path string, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is not a regular file (%s)", info.Mode().Type())
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(lockWait); ; <-tick.C {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: %s is locked; stop it first (systemctl stop ctwarden)", ErrLocked, path)
		}
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	// Its last owner may have set it aside while we waited.
	if now, err := os.Lstat(path); err != nil || !os.SameFile(info, now) {
		return fmt.Errorf("%w: %s was replaced just now", ErrLocked, path)
	}
	if info.Mode().Perm() == 0o600 {
		return nil
	}
	if err := file.Chmod(0o600); err != nil && !errors.Is(err, unix.EROFS) {
		return err
	}
	return nil
}

// start checks the locked file and lets bbolt open it. The error wraps [ErrDamaged] where the content is at fault.
func (s *Store) start(fresh bool) (note string, err error) {
	if !fresh {
		if note, err = checkFile(s.file, s.opts.Progress, nil); err != nil {
			return "", fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	err = s.safely("open", func() error {
		// FreelistType map: the list of free pages is searched by size, not from its start, which matters once a full
		// outbox has drained. NoStatistics: nobody reads them. The rest are the defaults on purpose: NoGrowSync stays
		// false, since without the sync a grown file can come back short on ext4 after a power failure; NoFreelistSync
		// stays false, since without the list bbolt searches all pages at open in a goroutine whose panic cannot be caught.
		s.db, err = bolt.Open(s.file.Name(), 0o600, &bolt.Options{
			FreelistType: bolt.FreelistMapType, NoStatistics: true, Timeout: lockWait, ReadOnly: s.readOnly,
			OpenFile: func(string, int, os.FileMode) (*os.File, error) { return s.file, nil },
		})
		return err
	})
	if err != nil && !isSystem(err) {
		return "", fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return "", err
	}
	if err := s.prepare(fresh); err != nil {
		return "", err
	}
	if fresh {
		return "", syncFolder(s.file.Name())
	}
	return note, nil
}

// syncFolder makes a new file's name last.
func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// checkFile checks the pages of a file, all of them or those that are wanted.
func checkFile(file *os.File, p *Progress, only *small) (note string, err error) {
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if info.Size() == 0 {
		return "", errors.New("it is empty")
	}
	p.begin(info.Size())
	return checkPages(countedReader{file, p}, info.Size(), only)
}

// isSystem tells an error of the operating system (disk full, not permitted) from one of the content.
func isSystem(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno)
}

// setAside renames the file to a dated name that is not taken.
func setAside(path string, now time.Time) (string, error) {
	base := path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	name := base
	for i := 2; ; i++ {
		_, err := os.Lstat(name)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return "", err
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return name, os.Rename(path, name)
}
