package doctor

import (
	"os"
	"path"
	"strings"

	"github.com/ctwarden/ctwarden/internal/confdir"
)

// readDirs finds where the agent's own directories are.
func (f *Facts) readDirs(root *os.Root) {
	for _, d := range []Dir{{Key: "state_dir", Path: f.StateDir}, {Key: "runtime_dir", Path: f.RuntimeDir}} {
		if d.Path != "" {
			d.real = resolved(root, d.Path)
			f.Dirs = append(f.Dirs, d)
		}
	}
}

// resolved is a directory without links, as far as it is there and may be looked at.
func resolved(root *os.Root, dir string) string {
	rest := ""
	for dir = path.Join("/", dir); ; dir = path.Dir(dir) {
		if found, err := confdir.Resolve(root, dir); err == nil || dir == "/" {
			return path.Join("/", found, rest)
		}
		rest = path.Join(path.Base(dir), rest)
	}
}

// covers are the directories that the service does not see. ProtectHome=read-only hides nothing.
func (s setup) covers() (out []Cover) {
	if v := s.covered["ProtectHome"]; yes(v) || v == "tmpfs" {
		for _, dir := range []string{"/home", "/root", "/run/user"} {
			out = append(out, Cover{Setting: "ProtectHome=" + v, Dir: dir, sealed: v != "tmpfs"})
		}
	}
	if v := s.covered["PrivateTmp"]; yes(v) || v == "disconnected" {
		for _, dir := range []string{"/tmp", "/var/tmp"} {
			out = append(out, Cover{Setting: "PrivateTmp=" + v, Dir: dir})
		}
	}
	return out
}

// specifiers are those whose value the service manager of the system has everywhere. Any other stays as it is, and names no
// directory of the agent's.
var specifiers = strings.NewReplacer("%%", "%", "%S", "/var/lib", "%t", "/run", "%C", "/var/cache", "%L", "/var/log",
	"%E", "/etc", "%h", "/root", "%T", "/tmp", "%V", "/var/tmp", "%n", unitName, "%N", "ctwarden", "%p", "ctwarden")

// unitWords splits a value of a unit into words, as systemd does: quotes keep blanks, and a backslash what follows it.
func unitWords(value string) (words []string) {
	var word strings.Builder
	var quote, before rune
	begun := false
	for _, c := range value {
		switch {
		case before == '\\':
			word.WriteRune(c)
			before = 0
			continue
		case c == '\\':
			begun = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, begun = c, true
		case quote == 0 && strings.ContainsRune(" \t\n\r", c):
			if begun {
				words = append(words, specifiers.Replace(word.String()))
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(c)
			begun = true
		}
		before = c
	}
	if begun {
		words = append(words, specifiers.Replace(word.String()))
	}
	return words
}
