package writers

import (
	"os"
	"path"
	"strings"

	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

// tunedProfiles bounds how many profiles of tuned are read: the active ones and those that they include.
const tunedProfiles = 8

// Profile is the active profile of tuned.
type Profile struct {
	// Name is as tuned has it, of several profiles with blanks between.
	Name string
	// Lines are those of the profile that set one of the keys, in the order in which they override each other: an included
	// profile before the one that includes it. The settings' Key is dotted, their File and Line say where it stands.
	Lines []sysctld.Setting
	// Reapplies is true where tuned applies /run/sysctl.d, /etc/sysctl.d and /etc/sysctl.conf after its own, as it does
	// unless it was told not to.
	Reapplies bool
	// Running is true where tuned runs, or is to be started at boot.
	Running bool
}

// Tuned reads the active profile of tuned as far as it sets one of the keys; false where there is none.
func Tuned(root *os.Root, keys ...string) (Profile, bool) {
	active, err := startOf(root, "etc/tuned/active_profile")
	if err != nil || strings.TrimSpace(active) == "" {
		return Profile{}, false
	}
	t := tunedReader{root: root, keys: map[string]bool{}, seen: map[string]bool{}}
	for _, k := range keys {
		t.keys[k] = true
	}
	names := strings.Fields(active)
	for _, name := range names {
		t.read(name)
	}
	return Profile{
		Name: strings.Join(names, " "), Lines: t.lines, Reapplies: reapplies(root), Running: running(root),
	}, true
}

// tunedReader goes through the profiles.
type tunedReader struct {
	root  *os.Root
	keys  map[string]bool
	seen  map[string]bool
	lines []sysctld.Setting
}

// read reads one profile, after those that it includes.
func (t *tunedReader) read(name string) {
	if t.seen[name] || len(t.seen) >= tunedProfiles || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return
	}
	t.seen[name] = true
	for _, dir := range []string{"etc/tuned/profiles", "etc/tuned", "usr/lib/tuned/profiles", "usr/lib/tuned"} {
		file := path.Join(dir, name, "tuned.conf")
		if text, err := startOf(t.root, file); err == nil {
			t.parse("/"+file, text)
			return
		}
	}
}

func (t *tunedReader) parse(file, text string) {
	var own []sysctld.Setting
	n := 0
	for line := range strings.Lines(text) {
		n++
		key, value, _ := strings.Cut(line, "=")
		key = strings.ReplaceAll(strings.TrimSpace(key), "/", ".")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		if key == "include" {
			for _, other := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
				t.read(other)
			}
		}
		if t.keys[key] {
			own = append(own, sysctld.Setting{File: file, Line: n, Key: key, Value: value})
		}
	}
	t.lines = append(t.lines, own...)
}

// reapplies tells what tuned's own configuration says.
func reapplies(root *os.Root) bool {
	text, err := startOf(root, "etc/tuned/tuned-main.conf")
	if err != nil {
		return true
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, "=")
		if strings.TrimSpace(key) == "reapply_sysctl" {
			switch strings.ToLower(strings.TrimSpace(value)) {
			case "0", "no", "false", "n", "off":
				return false
			}
		}
	}
	return true
}

// running tells whether tuned is there at the next boot: its unit is enabled.
func running(root *os.Root) bool {
	_, err := root.Lstat("etc/systemd/system/multi-user.target.wants/tuned.service")
	return err == nil
}
