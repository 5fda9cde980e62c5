package apply

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/ctwarden/ctwarden/remediate"
)

// mark is the first line of every sysctl.d file of ours, and of no other.
const mark = "# ctwarden-persisted: 1"

// maxPersisted bounds what is read of our file, in bytes.
const maxPersisted = 64 << 10

// Persisted is the limit that our sysctl.d file keeps.
type Persisted struct {
	// Max is the limit in entries; Buckets the hash's size, 0 where the file leaves it alone.
	Max, Buckets uint64
	// MachineID and Host are of the machine that wrote the file, At is when.
	MachineID, Host string
	At              time.Time
	// StepID is the step that the file was last written for; empty in a file of an earlier version.
	StepID string
	// Path is the file below the root.
	Path string
}

// Persisted reads our sysctl.d file. It tells whether there is one: with [ErrDamaged] and [ErrOtherMachine] there is,
// and the limit in it is not to be applied; with [ErrNotOurs] there is a file of that name that is not ours.
func (a *Applier) Persisted() (Persisted, bool, error) {
	name := a.cfg.PersistFile
	data, err := a.readPersisted()
	if errors.Is(err, fs.ErrNotExist) {
		return Persisted{}, false, nil
	}
	if err != nil {
		return Persisted{}, false, fmt.Errorf("read the persisted limit: %w", err)
	}
	p, err := parsePersisted(data)
	p.Path = name
	switch {
	case errors.Is(err, ErrNotOurs):
		return Persisted{}, false, fmt.Errorf("%s: %w; it is left as it is: move it, or set remediate.persist_file to"+
			" another name", name, err)
	case err != nil:
		return p, true, fmt.Errorf("%s: %w; remove it with ctwarden revert", name, err)
	case p.MachineID != oneLine(a.cfg.MachineID):
		return p, true, fmt.Errorf("%s: %w (machine %q, host %q): a cloned image? remove it with ctwarden revert",
			name, ErrOtherMachine, p.MachineID, p.Host)
	}
	return p, true, nil
}

// readPersisted reads the file of our name. A link there, as the one to /dev/null that masks a file, is not ours.
func (a *Applier) readPersisted() ([]byte, error) {
	dir, err := a.persistDir(false)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	name := path.Base(a.cfg.PersistFile)
	fi, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: it is no regular file", a.cfg.PersistFile, ErrNotOurs)
	}
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxPersisted))
}

// parsePersisted reads a file of ours. It gives what it understood also where it fails.
func parsePersisted(data []byte) (Persisted, error) {
	var p Persisted
	first, rest, _ := strings.Cut(string(data), "\n")
	if first != mark {
		return p, ErrNotOurs
	}
	set := map[string]uint64{}
	for i, line := range strings.Split(rest, "\n") {
		if comment, ok := strings.CutPrefix(line, "# "); ok {
			p.header(comment)
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(line, " = ")
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || n == 0 {
			return p, fmt.Errorf("%w: line %d: %q", ErrDamaged, i+2, line)
		}
		set[key] = n
	}
	if p.Max, p.Buckets = set[KeyMax], set[KeyBuckets]; p.Max == 0 || set[KeyOldMax] != p.Max {
		return p, fmt.Errorf("%w: the two names of the limit are not set alike", ErrDamaged)
	}
	return p, nil
}

// header reads one "name: value" of the comments; others are for people.
func (p *Persisted) header(comment string) {
	name, value, _ := strings.Cut(comment, ": ")
	switch name {
	case "machine id":
		p.MachineID = value
	case "host":
		p.Host = value
	case "step":
		p.StepID = value
	case "at":
		// A time that a person has spoilt costs nothing but the time.
		if at, err := time.Parse(time.RFC3339, value); err == nil {
			p.At = at
		}
	}
}

// render is the file's text. The header is for whoever finds the file and wonders.
func (p Persisted) render(s remediate.Step, version string) []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(mark)
	line("# Written by ctwarden %s, which replaces it: put settings of your own into another file.", oneLine(version))
	line("# at: %s", p.At.UTC().Format(time.RFC3339))
	line("# host: %s", oneLine(p.Host))
	line("# machine id: %s", oneLine(p.MachineID))
	line("# limit: from %d to %d entries", s.From, p.Max)
	line("# why: %s", oneLine(why(s)))
	if s.IncidentID != "" {
		line("# incident: %s", oneLine(s.IncidentID))
	}
	if s.ID != "" {
		line("# step: %s", oneLine(s.ID))
	}
	line("# To undo this: ctwarden revert")
	line("%s = %d", KeyMax, p.Max)
	line("%s = %d", KeyOldMax, p.Max)
	if p.Buckets > 0 {
		line("%s = %d", KeyBuckets, p.Buckets)
	}
	return []byte(b.String())
}

// why is the step's reason, word and text.
func why(s remediate.Step) string {
	if text := s.Reason.Text(); text != "" {
		return string(s.Reason) + " (" + text + ")"
	}
	return string(s.Reason)
}

// oneLine keeps a value from ending the comment that it stands in.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s))
}
