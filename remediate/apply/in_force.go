package apply

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// InForce fails with [ErrChanged] unless the kernel has that limit, under each name of it that there is. It returns the
// size of the hash, 0 where the kernel does not let it be set.
func (a *Applier) InForce(limit uint64) (buckets uint64, err error) {
	v, err := a.read()
	if err != nil {
		return 0, err
	}
	if !v.is(limit) {
		return 0, fmt.Errorf("%w: %s, not %d", ErrChanged, v, limit)
	}
	return v.buckets, nil
}

// MayPersist tells whether this process may write the sysctl.d file, or make the directory for it.
func (a *Applier) MayPersist() bool {
	for dir := path.Dir(a.cfg.PersistFile); ; dir = path.Dir(dir) {
		err := unix.Access(filepath.Join(a.cfg.Root, dir)+"/.", unix.W_OK)
		if dir == "/" || !errors.Is(err, unix.ENOENT) {
			return err == nil
		}
	}
}
