package testkernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

const (
	// lockPath is the file that every user of the first namespace's limit locks, this package or a script by flock(1).
	lockPath = "/run/lock/ctwarden-kernel.lock"
	// savedPath holds the limits to put back if the holder of the lock is killed.
	savedPath = "/run/lock/ctwarden-kernel.saved"

	maxPath     = "/proc/sys/net/netfilter/nf_conntrack_max"
	bucketsPath = "/proc/sys/net/netfilter/nf_conntrack_buckets"
	bootIDPath  = "/proc/sys/kernel/random/boot_id"
)

// Limits are the kernel's settings, read and written independently of package conntrack.
type Limits struct {
	// Max is the limit in entries, Buckets the size of the hash.
	Max     uint64 `json:"max"`
	Buckets uint64 `json:"buckets"`
}

// Lock is the right to change the limit of the first namespace. It is used by one goroutine.
type Lock struct {
	file  *os.File
	saved Limits
	first *Namespace
}

// savedLimits is the content of savedPath. Limits of another boot are of no use.
type savedLimits struct {
	BootID string `json:"boot_id"`
	Limits
}

// Acquire waits for the lock until ctx is done, undoes what a killed holder left behind, and saves the limits.
func Acquire(ctx context.Context) (*Lock, error) {
	file, err := os.OpenFile(lockPath, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	lock := &Lock{file: file}
	if err := lock.take(ctx); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return lock, nil
}

func (l *Lock) take(ctx context.Context) error {
	if err := flock(ctx, l.file); err != nil {
		return err
	}
	if err := restoreSaved(); err != nil {
		return err
	}
	if err := removeTables(ctx); err != nil {
		return err
	}
	if err := (&Namespace{}).Flush(); err != nil {
		return err
	}
	var err error
	if l.saved, err = ReadLimits(); err != nil {
		return err
	}
	return save(l.saved)
}

// flock takes the lock without blocking the thread for good, so that ctx can end the wait.
func flock(ctx context.Context, file *os.File) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", lockPath, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s, which another test holds: %w", lockPath, ctx.Err())
		case <-tick.C:
		}
	}
}

// Saved returns the limits as they were when the lock was taken, which Release puts back.
func (l *Lock) Saved() Limits { return l.saved }

// SetMax writes the limit, in entries.
func (l *Lock) SetMax(entries uint64) error { return writeNumber(maxPath, entries) }

// SetBuckets writes the size of the hash, which the kernel rounds up. Whoever calls it holds the lock.
func SetBuckets(buckets uint64) error { return writeNumber(bucketsPath, buckets) }

// Release removes what FirstNamespace set up, puts the limits back and gives the lock away. It does all of it whatever
// fails, and may be called again.
func (l *Lock) Release() error {
	if l.file == nil {
		return nil
	}
	var errs []error
	if l.first != nil {
		errs = append(errs, l.first.Close())
	}
	err := restore(l.saved)
	if err == nil {
		err = os.Remove(savedPath) // kept where the restoring failed: the next holder tries again
	}
	errs = append(errs, err, l.file.Close())
	l.file = nil
	return errors.Join(errs...)
}

// ReadLimits reads the limits now in force.
func ReadLimits() (Limits, error) {
	entries, err := readNumber(maxPath)
	if err != nil {
		return Limits{}, err
	}
	buckets, err := readNumber(bucketsPath)
	if err != nil {
		return Limits{}, err
	}
	return Limits{Max: entries, Buckets: buckets}, nil
}

func restore(want Limits) error {
	now, err := ReadLimits()
	if err != nil {
		return err
	}
	var errs []error
	if now.Max != want.Max {
		errs = append(errs, writeNumber(maxPath, want.Max))
	}
	if now.Buckets != want.Buckets {
		errs = append(errs, writeNumber(bucketsPath, want.Buckets))
	}
	return errors.Join(errs...)
}

func save(limits Limits) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	text, err := json.Marshal(savedLimits{BootID: boot, Limits: limits})
	if err != nil {
		return fmt.Errorf("encode the limits: %w", err)
	}
	if err := renameio.WriteFile(savedPath, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("save the limits: %w", err)
	}
	return nil
}

// restoreSaved puts back what a holder that was killed had saved in this boot.
func restoreSaved() error {
	text, err := os.ReadFile(savedPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the saved limits: %w", err)
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	var saved savedLimits
	if err := json.Unmarshal(text, &saved); err != nil {
		return fmt.Errorf("read the saved limits in %s: %w", savedPath, err)
	}
	if saved.BootID != boot || saved.Max == 0 {
		return nil
	}
	return restore(saved.Limits)
}

func bootID() (string, error) {
	text, err := os.ReadFile(bootIDPath)
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func readNumber(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read a number: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read a number in %s: %w", path, err)
	}
	return n, nil
}

// writeNumber opens without O_CREATE: below /proc nothing is to be created.
func writeNumber(path string, n uint64) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set a number: %w", err)
	}
	_, err = file.WriteString(strconv.FormatUint(n, 10))
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("set %s to %d: %w", path, n, err)
	}
	return nil
}
