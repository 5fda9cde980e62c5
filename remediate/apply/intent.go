package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"

	"github.com/ctwarden/ctwarden/remediate"
)

// The kinds and states of an intent.
const (
	kindStep = "step"
	kindUndo = "undo"

	stateIntended   = "intended"    // not known to be written or not
	stateDone       = "done"        // written and read back
	stateFailed     = "failed"      // an error came back; Step.Error has it
	stateNotWritten = "not_written" // found by Recover
	stateLeftAlone  = "left_alone"  // found by Recover
)

// intentFormat is the version of the intent files. Another one is set aside as damaged: they live for one boot only.
const intentFormat = 1

// The bounds of an intent file and of the incident in it, in bytes. A larger incident is left out: the step matters
// more.
const (
	maxIntent         = 256 << 10
	maxIntentIncident = 128 << 10
)

// intent is the journal's record of one write.
type intent struct {
	Format int `json:"format"`
	// ID names the intent: the step's ID, or UndoID of it.
	ID     string `json:"id"`
	BootID string `json:"boot_id"`
	Kind   string `json:"kind"`
	State  string `json:"state"`
	// Buckets is the size of the hash that was asked for; 0: none.
	Buckets uint64         `json:"buckets,omitempty"`
	Step    remediate.Step `json:"step"`
	// Incident is what StepMeta.Incident was.
	Incident json.RawMessage `json:"incident,omitempty"`
}

// fail gives the intent's step with the error in it.
func (in intent) fail(err error) (remediate.Step, error) {
	in.Step.Error = err.Error()
	return in.Step, err
}

// intentFile is the file's name. Any id makes a plain name.
func intentFile(id string) string { return "intent-" + url.QueryEscape(id) + ".json" }

// runtime opens the runtime directory, made with mode 0700 when it is missing.
func (a *Applier) runtime() (*os.Root, error) {
	if err := os.MkdirAll(a.cfg.RuntimeDir, 0o700); err != nil {
		return nil, fmt.Errorf("make runtime_dir: %w", err)
	}
	r, err := os.OpenRoot(a.cfg.RuntimeDir)
	if err != nil {
		return nil, fmt.Errorf("open runtime_dir: %w", err)
	}
	return r, nil
}

// replaceIf writes a file of dir atomically, its contents synced before it gets its name. Only then it is asked whether that
// is still wanted, for a disk may hang: where wanted fails the file that was there stays.
func replaceIf(wanted func() error, dir *os.Root, name string, data []byte, mode fs.FileMode) error {
	f, err := renameio.NewPendingFile(name, renameio.WithRoot(dir), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Cleanup())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Cleanup())
	}
	if err := wanted(); err != nil {
		return errors.Join(err, f.Cleanup())
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return errors.Join(err, f.Cleanup())
	}
	return nil
}

// replaceForBoot writes a file of dir atomically that says nothing after a reboot, and need not outlive one. It is not
// synced, as renameio would: no step is to wait for a disk, where runtime_dir is on one.
func replaceForBoot(dir *os.Root, name string, data []byte) error {
	temporary := "." + name
	if err := dir.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a write that was cut off
		return err
	}
	f, err := dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = dir.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, dir.Remove(temporary))
	}
	return nil
}

// saveIntent writes or replaces the intent's file.
func (a *Applier) saveIntent(in intent) error {
	in.Format = intentFormat
	data, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("record the intent: %w", err)
	}
	dir, err := a.runtime()
	if err != nil {
		return fmt.Errorf("record the intent: %w", err)
	}
	defer dir.Close()
	err = withReserve(dir, func() error { return replaceForBoot(dir, intentFile(in.ID), append(data, '\n')) })
	if err != nil {
		return fmt.Errorf("record the intent in %s: %w", a.cfg.RuntimeDir, err)
	}
	return nil
}

// Forget removes the intent of a step, or of an undo by its [UndoID], once the caller has committed what became of
// it. One that is not there is no error.
func (a *Applier) Forget(id string) error {
	dir, err := os.OpenRoot(a.cfg.RuntimeDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("forget intent %s: %w", id, err)
	}
	defer dir.Close()
	a.cfg.Fail(StageBeforeForget)
	if err := dir.Remove(intentFile(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget intent %s: %w", id, err)
	}
	a.cfg.Fail(StageAfterForget)
	return nil
}

// intentFiles lists the names of the intent files, and removes what an interrupted replacement left behind.
func intentFiles(dir *os.Root) ([]string, error) {
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasPrefix(name, ".intent-"), strings.HasPrefix(name, "."+bootFile):
			if err := dir.Remove(name); err != nil {
				return nil, err
			}
		case strings.HasPrefix(name, "intent-") && strings.HasSuffix(name, ".json"):
			names = append(names, name)
		}
	}
	return names, nil
}

// loadIntent reads one intent file and checks that it can be acted on.
func loadIntent(dir *os.Root, name string) (intent, error) {
	data, err := readSmall(dir, name)
	if err != nil {
		return intent{}, err
	}
	in, err := parseIntent(data)
	if err == nil && intentFile(in.ID) != name {
		err = fmt.Errorf("%w: it is the intent of %q", ErrDamaged, in.ID)
	}
	return in, err
}

// readSmall reads a file of the runtime directory. A pipe there must not stop the agent: it reads as empty.
func readSmall(dir *os.Root, name string) ([]byte, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxIntent))
}

// parseIntent accepts only what saveIntent can have written.
func parseIntent(data []byte) (intent, error) {
	var in intent
	if err := json.Unmarshal(data, &in); err != nil {
		return intent{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	states := []string{stateIntended, stateDone, stateFailed, stateNotWritten, stateLeftAlone}
	s := in.Step
	direction := in.Kind == kindStep && s.To >= s.From || in.Kind == kindUndo && s.To < s.From
	if in.Format != intentFormat || in.ID == "" || !slices.Contains(states, in.State) || !direction ||
		s.From == 0 || s.To == 0 || max(s.From, s.To) > remediate.MaxLimit || in.Buckets > remediate.MaxLimit {
		return intent{}, fmt.Errorf("%w: fields that ctwarden does not write", ErrDamaged)
	}
	in.Step.NetNS.Init = true // not in the JSON, and only the first namespace is ever written
	return in, nil
}
