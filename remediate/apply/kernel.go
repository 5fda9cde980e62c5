package apply

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/ctwarden/ctwarden/remediate"
)

// SettingError is a setting that could not be read or written. errors.Is tells [ErrReadOnly] and [ErrNoTable] from
// anything else, which is worth another try.
type SettingError struct {
	// Op is "read" or "set", Value what was to be set.
	Op    string
	Key   string
	Value uint64
	Err   error
}

// Error says what failed, on what, and what can be done.
func (e *SettingError) Error() string {
	what := e.Op + " " + e.Key
	if e.Op == "set" {
		what += " to " + strconv.FormatUint(e.Value, 10)
	}
	// The path says nothing that the key does not.
	cause := e.Err
	var pe *fs.PathError
	if errors.As(cause, &pe) {
		cause = pe.Err
	}
	what += ": " + cause.Error()
	switch {
	case errors.Is(e, ErrReadOnly) && e.Op == "set":
		what += " (it cannot be written from here: set it on the host, in the first network namespace," +
			" as root or with CAP_NET_ADMIN)"
	case errors.Is(e, ErrNoTable):
		what += " (the module nf_conntrack is not loaded, or /proc/sys is not mounted)"
	}
	return what
}

// Unwrap gives the system's error.
func (e *SettingError) Unwrap() error { return e.Err }

// Is sorts the system's error under the package's own.
func (e *SettingError) Is(target error) bool {
	switch target {
	case ErrReadOnly:
		return errors.Is(e.Err, syscall.EACCES) || errors.Is(e.Err, syscall.EPERM) || errors.Is(e.Err, syscall.EROFS)
	case ErrNoTable:
		return errors.Is(e.Err, syscall.ENOENT)
	}
	return false
}

// values are the settings as read at one time, in entries and buckets.
type values struct {
	max, oldMax, buckets uint64
	// hasOld and hasBuckets are false where the kernel has no such name.
	hasOld, hasBuckets bool
}

// is tells whether every name of the limit has the value n.
func (v values) is(n uint64) bool { return v.max == n && (!v.hasOld || v.oldMax == n) }

// within tells whether every name of the limit has one of the two values.
func (v values) within(m, n uint64) bool {
	return (v.max == m || v.max == n) && (!v.hasOld || v.oldMax == m || v.oldMax == n)
}

// String shows the limit for a person.
func (v values) String() string {
	if v.hasOld && v.oldMax != v.max {
		return fmt.Sprintf("%s is %d and %s is %d", KeyMax, v.max, KeyOldMax, v.oldMax)
	}
	return fmt.Sprintf("%s is %d", KeyMax, v.max)
}

// keys are the values by their full names, the buckets only where they were part of the step.
func (v values) keys(buckets bool) map[string]uint64 {
	out := map[string]uint64{KeyMax: v.max}
	if v.hasOld {
		out[KeyOldMax] = v.oldMax
	}
	if buckets && v.hasBuckets {
		out[KeyBuckets] = v.buckets
	}
	return out
}

// read reads all settings. The limit's first name must be there; the others need not be.
func (a *Applier) read() (values, error) {
	var v values
	var err error
	if v.max, err = a.get(KeyMax); err != nil {
		return v, err
	}
	if v.oldMax, v.hasOld, err = a.getIfThere(KeyOldMax); err != nil {
		return v, err
	}
	v.buckets, v.hasBuckets, err = a.getIfThere(KeyBuckets)
	return v, err
}

func (a *Applier) getIfThere(key string) (uint64, bool, error) {
	n, err := a.get(key)
	if errors.Is(err, ErrNoTable) {
		return 0, false, nil
	}
	return n, err == nil, err
}

// get reads one setting.
func (a *Applier) get(key string) (uint64, error) {
	f, err := a.openSetting(key, os.O_RDONLY)
	if err != nil {
		return 0, &SettingError{Op: "read", Key: key, Err: err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, &SettingError{Op: "read", Key: key, Err: err}
	}
	line, _, _ := strings.Cut(string(data), "\n")
	n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
	if err != nil {
		return 0, &SettingError{Op: "read", Key: key, Err: err}
	}
	return n, nil
}

// set writes one setting, in a single write as the kernel wants it. It never creates a file.
func (a *Applier) set(key string, n uint64) error {
	if n == 0 || n > remediate.MaxLimit {
		return fmt.Errorf("set %s to %d: %w", key, n, ErrInvalid)
	}
	f, err := a.openSetting(key, os.O_WRONLY)
	if err != nil {
		return &SettingError{Op: "set", Key: key, Value: n, Err: err}
	}
	_, err = f.WriteString(strconv.FormatUint(n, 10) + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return &SettingError{Op: "set", Key: key, Value: n, Err: err}
	}
	return nil
}
