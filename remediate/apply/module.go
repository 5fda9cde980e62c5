package apply

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// moduleMark is the first line of every modules-load.d file of ours, and of no other.
const moduleMark = "# ctwarden-module: 1"

// module is what has to be loaded before the kernel has a limit that could be set. Where it is built in, loading it does
// nothing.
const module = "nf_conntrack"

// placeModule has the module loaded at boot before sysctl.d is applied: loaded later, by a firewall, it would begin with
// its own limit. A file that is there already is left as it is, with our mark or without ([ErrNotOurs]).
func (a *Applier) placeModule() error {
	if a.cfg.ModuleFile == "" {
		return nil
	}
	dir, err := a.openDir(a.cfg.ModuleFile, true)
	if err != nil {
		return err
	}
	defer dir.Close()
	name := path.Base(a.cfg.ModuleFile)
	if err := ourModuleFile(dir, name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := removeLeftovers(dir, name); err != nil {
		return err
	}
	return errors.Join(replaceIf(a.wanted, dir, name, a.moduleText(), 0o644), syncDir(dir, "."))
}

// hasModule fails unless the file is there, or none is wanted.
func (a *Applier) hasModule() error {
	if a.cfg.ModuleFile == "" {
		return nil
	}
	dir, err := a.openDir(a.cfg.ModuleFile, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	return ourModuleFile(dir, path.Base(a.cfg.ModuleFile))
}

// removeModule takes the file away again. One that is not ours, or not there, is left alone.
func (a *Applier) removeModule() error {
	if a.cfg.ModuleFile == "" {
		return nil
	}
	dir, err := a.openDir(a.cfg.ModuleFile, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	name := path.Base(a.cfg.ModuleFile)
	err = ourModuleFile(dir, name)
	switch {
	case errors.Is(err, ErrNotOurs), errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return errors.Join(dir.Remove(name), syncDir(dir, "."))
}

// ourModuleFile fails unless the file is there and has our mark.
func ourModuleFile(dir *os.Root, name string) error {
	fi, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%w: it is no regular file", ErrNotOurs)
	}
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(len(moduleMark))+1))
	if err != nil {
		return err
	}
	if strings.TrimSuffix(string(text), "\n") != moduleMark {
		return ErrNotOurs
	}
	return nil
}

// moduleText is the file's text.
func (a *Applier) moduleText() []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(moduleMark)
	line("# Written by ctwarden %s with %s, whose limit would be lost if this module were loaded", oneLine(a.cfg.Version), a.cfg.PersistFile)
	line("# after the settings of sysctl.d are applied, as it is by a firewall.")
	line("# To undo this: ctwarden revert")
	line("%s", module)
	return []byte(b.String())
}
