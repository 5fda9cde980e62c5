package apply

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// HoldFile is the hold's name in the state directory.
const HoldFile = "hold"

// maxHold bounds what is read of the hold, in bytes.
const maxHold = 4 << 10

// forever is how a hold without end is written.
const forever = "released"

// Held reads the hold in stateDir. No file, or no directory, is no hold: nil. One that is over at now is none either.
//
// A hold that is there but cannot be read or parsed counts, since whoever made it wanted a stop: then both the hold
// and an error come back, and the error says so. An empty file is a hold without end, so that "touch" will do.
func Held(stateDir string, now time.Time) (*remediate.Hold, error) {
	h, err := readHold(stateDir)
	if err != nil {
		return &remediate.Hold{Since: now, By: "unknown"},
			fmt.Errorf("%w; it counts as a hold until it is mended or ctwarden unhold removes it", err)
	}
	if !h.Active(now) {
		return nil, nil
	}
	return h, nil
}

// readHold gives the hold whether it is over or not; nil: none.
func readHold(stateDir string) (*remediate.Hold, error) {
	root, err := os.OpenRoot(stateDir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read hold: %w", err)
	}
	defer root.Close()
	f, err := root.OpenFile(HoldFile, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not stop the agent
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read hold: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read hold: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxHold))
	if err != nil {
		return nil, fmt.Errorf("read hold: %w", err)
	}
	h, err := parseHold(data)
	if err != nil {
		return nil, fmt.Errorf("read hold %s/%s: %w", stateDir, HoldFile, err)
	}
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
		default:
			err = errors.New("want until, since or by")
		}
		if err != nil {
			return h, fmt.Errorf("%w: line %d: %q: %w", ErrDamaged, i+1, line, err)
		}
	}
	return h, nil
}

// SetHold writes the hold into stateDir, which is made with mode 0700 when it is missing.
func SetHold(stateDir string, h remediate.Hold) error {
	until := forever
	if !h.Until.IsZero() {
		until = h.Until.UTC().Format(time.RFC3339)
	}
	text := fmt.Sprintf("# While this file is here, ctwarden changes nothing by itself. ctwarden unhold removes it.\n"+
		"until: %s\nsince: %s\nby: %s\n", until, h.Since.UTC().Format(time.RFC3339), oneLine(h.By))
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	root, err := os.OpenRoot(stateDir)
	if err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	defer root.Close()
	if err := errors.Join(replace(root, HoldFile, []byte(text), 0o644), syncDir(root, ".")); err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	return nil
}

// ClearHold removes the hold, readable or not. It tells whether there was one.
func ClearHold(stateDir string) (bool, error) {
	root, err := os.OpenRoot(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remove hold: %w", err)
	}
	defer root.Close()
	err = root.Remove(HoldFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err = errors.Join(err, syncDir(root, ".")); err != nil {
		return false, fmt.Errorf("remove hold: %w", err)
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
