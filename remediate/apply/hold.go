package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// The names of a hold's file in state_dir and in runtime_dir: the host's own, and the fleet's, which the agent writes at
// the hub's order. Neither releases the other.
const (
	HoldFile      = "hold"
	FleetHoldFile = "fleet-hold"
)

// holdFile is the name of a hold's file.
type holdFile string

// maxHold bounds what is read of the hold, in bytes.
const maxHold = 4 << 10

// forever is how a hold without end is written.
const forever = "released"

// Held reads the hold in dir, which is state_dir or runtime_dir; both together are [HoldPlaces]. No file, or no directory, is no hold: nil. One that is over at now is none either.
//
// A hold that is there but cannot be read or parsed counts, since whoever made it wanted a stop: then both the hold
// and an error come back, and the error says so. An empty file is a hold without end, so that "touch" will do.
func Held(dir string, now time.Time) (*remediate.Hold, error) {
	return holdFile(HoldFile).held(dir, now)
}

func (f holdFile) held(dir string, now time.Time) (*remediate.Hold, error) {
	h, err := f.read(dir)
	if err != nil {
		return &remediate.Hold{Since: now, By: "unknown", Fleet: f.fleet(), File: filepath.Join(dir, string(f))},
			fmt.Errorf("%w; it counts as a hold until it is mended or %s removes it", err, f.release())
	}
	if !h.Active(now) {
		return nil, nil
	}
	h.File = filepath.Join(dir, string(f))
	return h, nil
}

func (f holdFile) fleet() bool { return f == FleetHoldFile }

// release is what removes the file.
func (f holdFile) release() string {
	if f.fleet() {
		return "ctwarden-hub unhold"
	}
	return "ctwarden unhold"
}

// about is the first line of the file, for who finds it.
func (f holdFile) about() string {
	if f.fleet() {
		return "# While this file is here, ctwarden changes nothing by itself: the fleet ordered it. ctwarden-hub unhold removes it;\n" +
			"# where no hub can be reached, remove it by hand.\n"
	}
	return "# While this file is here, ctwarden changes nothing by itself. ctwarden unhold removes it.\n"
}

// read gives the hold whether it is over or not; nil: none.
func (f holdFile) read(dir string) (*remediate.Hold, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read hold: %w", err)
	}
	defer root.Close()
	file, err := root.OpenFile(string(f), os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not stop the agent
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read hold: %w", err)
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read hold: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxHold))
	if err != nil {
		return nil, fmt.Errorf("read hold: %w", err)
	}
	h, err := parseHold(data)
	if err != nil {
		return nil, fmt.Errorf("read hold %s/%s: %w", dir, f, err)
	}
	h.Fleet = f.fleet()
	if h.Since.IsZero() {
		h.Since = fi.ModTime()
	}
	return &h, nil
}

// parseHold reads lines of "name: value".
func parseHold(data []byte) (remediate.Hold, error) {
	h := remediate.Hold{By: "unknown"}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		var err error
		switch name {
		case "until":
			if value != forever {
				h.Until, err = time.Parse(time.RFC3339, value)
			}
		case "since":
			h.Since, err = time.Parse(time.RFC3339, value)
		case "by":
			h.By = value
		case "why":
			h.Why = value
		default:
			err = errors.New("want until, since, by or why")
		}
		if err != nil {
			return h, fmt.Errorf("%w: line %d: %q: %w", ErrDamaged, i+1, line, err)
		}
	}
	return h, nil
}

// SetHold writes the hold into dir, which is made with mode 0700 when it is missing.
func SetHold(dir string, h remediate.Hold) error {
	return holdFile(HoldFile).set(context.Background(), dir, h, 0o644)
}

// set writes the hold with a mode. Where ctx is done before the file gets its name, it does not get it any more.
func (f holdFile) set(ctx context.Context, dir string, h remediate.Hold, mode fs.FileMode) error {
	until := forever
	if !h.Until.IsZero() {
		until = h.Until.UTC().Format(time.RFC3339Nano) // to the last digit: the hub compares it with what it has ordered
	}
	text := f.about() + fmt.Sprintf("until: %s\nsince: %s\nby: %s\n", until, h.Since.UTC().Format(time.RFC3339), oneLine(h.By))
	if h.Why != "" {
		text += fmt.Sprintf("why: %s\n", oneLine(h.Why))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	defer root.Close()
	if err := errors.Join(replaceIf(ctx.Err, root, string(f), []byte(text), mode), syncDir(root, ".")); err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	return nil
}

// ClearHold removes the hold from dir, readable or not. It tells whether there was one; where an error comes with that, it
// may hold still.
func ClearHold(dir string) (bool, error) {
	return holdFile(HoldFile).clear(context.Background(), dir, func() {})
}

// noHold is a name that no file in a hold's directory has.
const noHold = ".no-hold"

// clear calls gone when the hold is removed, which is before that is sure to last. Where ctx is done before, it is not
// removed any more: an order that was given up must not take effect when a frozen disk thaws.
func (f holdFile) clear(ctx context.Context, dir string, gone func()) (bool, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remove hold: %w", err)
	}
	defer root.Close()
	// A read-only or frozen disk refuses, or hangs in, the removal of what is not there too.
	if _, err = root.Lstat(string(f)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	there := err == nil
	if there {
		_ = root.Remove(noHold) // hangs with the disk and changes nothing
		err = ctx.Err()
	}
	if err == nil {
		err = root.Remove(string(f))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		gone()
		err = syncDir(root, ".")
	}
	if err != nil {
		return there, fmt.Errorf("remove hold %s/%s: %w", dir, f, err)
	}
	return true, nil
}

// syncDir makes the names of a directory last.
func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
