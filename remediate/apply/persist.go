package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

// PersistMeta is what a persisted limit needs to know beside the step.
type PersistMeta struct {
	// Buckets is the size of the hash if ctwarden ever set it, now or before this step; 0: it never did, and the file
	// leaves it alone.
	Buckets uint64
}

// Persistence is what became of a limit that was to be made to last.
type Persistence struct {
	// Path is our file below the root; empty when it was withdrawn.
	Path string `json:"path,omitempty"`
	// Max and Buckets are what the file says, in entries and buckets; Buckets is 0 where it does not set them.
	Max     uint64 `json:"max,omitempty"`
	Buckets uint64 `json:"buckets,omitempty"`
	// Kept is true when the file was left as it was, since it has a higher limit already.
	Kept bool `json:"kept,omitempty"`
	// Withdrawn says why there is no file of ours; nil: there is one.
	Withdrawn *Withdrawn `json:"withdrawn,omitempty"`
	// Overridden lists the loaders under which our file does not have the last word, with the lower value that has.
	Overridden []Override `json:"overridden,omitempty"`
	// LoadsLate says why [Config.ModuleFile] could not be written, so that the module may be loaded after our file was
	// applied. Empty: it is there, or none is wanted.
	LoadsLate string `json:"loads_late,omitempty"`
}

// Withdrawn is a limit in another file that is higher than ours, so that ours would lower it.
type Withdrawn struct {
	// By is the line that sets it, as file:line.
	By     string         `json:"by"`
	Value  uint64         `json:"value"`
	Loader sysctld.Loader `json:"loader"`
}

// Override is a loader that does not end with our limit.
type Override struct {
	Loader sysctld.Loader `json:"loader"`
	// By is the line that has the last word, as file:line. Empty: the loader does not read our file at all.
	By    string `json:"by,omitempty"`
	Value uint64 `json:"value"`
}

// Persist writes the sysctl.d file, so that step.To outlasts a reboot. It is for a step that proved effective.
//
// It never lowers: where another file sets more under one of the loaders, ours is removed and [Persistence.Withdrawn]
// says so; where our file has more from before (and the step is not an undo), that is kept. A file that has our name
// and not our mark is left untouched ([ErrNotOurs]). The file is replaced atomically, with its bytes and its name on
// disk when Persist returns.
func (a *Applier) Persist(step remediate.Step, m PersistMeta) (Persistence, error) {
	want := Persisted{
		Max: step.To, Buckets: m.Buckets, MachineID: a.cfg.MachineID, Host: a.cfg.Host, At: a.cfg.Now(),
		StepID: step.ID, Path: a.cfg.PersistFile,
	}
	if want.Max == 0 || max(want.Max, want.Buckets) > remediate.MaxLimit {
		return Persistence{}, fmt.Errorf("persist %d: %w", want.Max, ErrInvalid)
	}
	old, _, err := a.Persisted()
	if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrOtherMachine) {
		return Persistence{}, fmt.Errorf("persist %d: %w", want.Max, err)
	}
	if err == nil {
		want.Buckets = max(want.Buckets, old.Buckets)
	}
	keep := err == nil && step.To > step.From && old.Max >= want.Max && old.Buckets >= want.Buckets
	if keep {
		want.Max = old.Max
	} else if err == nil && step.To > step.From {
		want.Max = max(want.Max, old.Max)
	}
	return a.place(step, want, keep)
}

// place puts the file in place, keeps the one that is there or withdraws it.
func (a *Applier) place(step remediate.Step, want Persisted, keep bool) (Persistence, error) {
	tree, loaders := sysctld.Read(a.root), sysctld.LoadersBelow(a.root)
	if w := higher(tree.Without(a.cfg.PersistFile), loaders, want.Max); w != nil {
		_, err := a.Unpersist()
		return Persistence{Max: want.Max, Withdrawn: w}, err
	}
	late := a.placeModule() // before the limit, so that a kill leaves no limit that the boot would lose
	if !keep {
		a.cfg.Fail(StageBeforePersist)
		if err := a.writePersisted(want.render(step, a.cfg.Version)); err != nil {
			return Persistence{}, fmt.Errorf("persist %d in %s: %w", want.Max, a.cfg.PersistFile, err)
		}
		a.cfg.Fail(StageAfterPersist)
		tree = sysctld.Read(a.root)
	}
	return a.persistence(want, keep, tree, late), nil
}

// persistence is what is told of a file that is in place.
func (a *Applier) persistence(file Persisted, kept bool, tree *sysctld.Tree, late error) Persistence {
	p := Persistence{
		Path: file.Path, Max: file.Max, Buckets: file.Buckets, Kept: kept,
		Overridden: overrides(tree, sysctld.LoadersBelow(a.root), file.Max),
	}
	if late != nil {
		p.LoadsLate = fmt.Sprintf("%s: %v", a.cfg.ModuleFile, late)
	}
	return p
}

// Find looks what became of a Persist of this step in another process, of which nothing was heard: it tells what that
// would have told, by what the files say. It is false where they do not have the step's limit. It writes nothing.
func (a *Applier) Find(step remediate.Step) (Persistence, bool) {
	tree := sysctld.Read(a.root)
	file, there, err := a.Persisted()
	if err != nil {
		return Persistence{}, false
	}
	if !there {
		w := higher(tree, sysctld.LoadersBelow(a.root), step.To)
		return Persistence{Max: step.To, Withdrawn: w}, w != nil
	}
	kept := file.StepID != step.ID
	if kept && (step.To < step.From || file.Max < step.To) {
		return Persistence{}, false
	}
	return a.persistence(file, kept, tree, a.hasModule()), true
}

// stays is the line whose value of the limit stays when the loader is done: the last, under either name, that the
// kernel takes.
func stays(t *sysctld.Tree, l sysctld.Loader) (by string, n uint64) {
	s, n, ok := t.Stays(l, remediate.MaxLimit, KeyMax, KeyOldMax)
	if !ok {
		return "", 0
	}
	return fmt.Sprintf("%s:%d", s.File, s.Line), n
}

// higher finds a loader that ends with more than n.
func higher(t *sysctld.Tree, loaders []sysctld.Loader, n uint64) *Withdrawn {
	for _, l := range loaders {
		if by, v := stays(t, l); v > n {
			return &Withdrawn{By: by, Value: v, Loader: l}
		}
	}
	return nil
}

// overrides finds the loaders that do not end with n.
func overrides(t *sysctld.Tree, loaders []sysctld.Loader, n uint64) []Override {
	var out []Override
	for _, l := range loaders {
		if by, v := stays(t, l); v != n {
			out = append(out, Override{Loader: l, By: by, Value: v})
		}
	}
	return out
}

// Unpersist removes our sysctl.d file and tells whether there was one, and the file that has the module loaded. A file
// that is not ours stays ([ErrNotOurs]).
func (a *Applier) Unpersist() (bool, error) {
	_, there, err := a.Persisted()
	if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrOtherMachine) {
		return false, fmt.Errorf("remove the persisted limit: %w", err)
	}
	if there {
		if err := a.removePersisted(); err != nil {
			return false, fmt.Errorf("remove %s: %w", a.cfg.PersistFile, err)
		}
	}
	if err := a.removeModule(); err != nil { // a kill may have left it alone
		return there, fmt.Errorf("remove %s: %w", a.cfg.ModuleFile, err)
	}
	return there, nil
}

// removePersisted removes our file and waits for the disk.
func (a *Applier) removePersisted() error {
	dir, err := a.persistDir(false)
	if err != nil {
		return err
	}
	defer dir.Close()
	a.cfg.Fail(StageBeforeWithdraw)
	if err := a.wanted(); err != nil {
		return err
	}
	if err := errors.Join(dir.Remove(path.Base(a.cfg.PersistFile)), syncDir(dir, ".")); err != nil {
		return err
	}
	a.cfg.Fail(StageAfterWithdraw)
	return nil
}

// writePersisted replaces our file and waits for the disk.
func (a *Applier) writePersisted(data []byte) error {
	dir, err := a.persistDir(true)
	if err != nil {
		return err
	}
	defer dir.Close()
	name := path.Base(a.cfg.PersistFile)
	if err := removeLeftovers(dir, name); err != nil {
		return err
	}
	return errors.Join(replaceIf(a.wanted, dir, name, data, 0o644), syncDir(dir, "."))
}

// persistDir opens the directory of our sysctl.d file.
func (a *Applier) persistDir(create bool) (*os.Root, error) {
	return a.openDir(a.cfg.PersistFile, create)
}

// openDir opens the directory of a file below the root. A missing one is made with the mode that such a directory has.
func (a *Applier) openDir(file string, create bool) (*os.Root, error) {
	name := path.Dir(file)[1:]
	if name == "" {
		name = "."
	}
	dir, err := a.root.OpenRoot(name)
	if !create || !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	if err := a.root.MkdirAll(name, 0o755); err != nil {
		return nil, err
	}
	// Whatever the umask of the service.
	if err := errors.Join(a.root.Chmod(name, 0o755), syncDir(a.root, path.Dir(name))); err != nil {
		return nil, err
	}
	return a.root.OpenRoot(name)
}

// tidyPersisted removes what a replacement of our files that a crash cut short left behind. Where it cannot be removed it
// does no harm.
func (a *Applier) tidyPersisted() {
	for _, file := range []string{a.cfg.PersistFile, a.cfg.ModuleFile} {
		if file == "" {
			continue
		}
		if dir, err := a.openDir(file, false); err == nil {
			_ = removeLeftovers(dir, path.Base(file))
			dir.Close()
		}
	}
}

// removeLeftovers removes the temporary files of replacements that a crash cut short. Neither loader reads them: their
// names do not end in .conf.
func removeLeftovers(dir *os.Root, name string) error {
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	temporary := regexp.MustCompile(`^\.` + regexp.QuoteMeta(name) + `[0-9]+$`)
	for _, e := range entries {
		if temporary.MatchString(e.Name()) {
			if err := dir.Remove(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
