package sysctld

import (
	"path"
	"slices"
	"strings"
)

// Winner is the line that has the last word on key with the loader, and false where none sets it. Its value may still
// be one that the kernel refuses, in which case an earlier one stays: see [Tree.Writes].
func (t *Tree) Winner(key string, l Loader) (Setting, bool) {
	w := t.Writes(l, key)
	if len(w) == 0 {
		return Setting{}, false
	}
	return w[len(w)-1], true
}

// Writes lists, in order, what the loader writes to the settings named keys. Where the names are of one variable, as
// the two of nf_conntrack_max, the last one is the value that stays.
func (t *Tree) Writes(l Loader, keys ...string) []Setting {
	all := t.merged(l)
	named := map[name]bool{}
	for _, s := range all {
		if !isGlob(s.Key) {
			named[name{s.Key, s.rooted}] = true
		}
	}
	var out []Setting
	for _, s := range all {
		if s.bare || !l.Globs() && isGlob(s.Key) {
			continue
		}
		for _, k := range keys {
			if w, ok := s.write(normalize(k), named); ok {
				out = append(out, w)
			}
		}
	}
	return out
}

// Stays is the line whose number stays when the loader is done with the settings named keys, which are names of one
// variable: the last that the kernel takes, one of at most most. False where there is none.
func (t *Tree) Stays(l Loader, most uint64, keys ...string) (Setting, uint64, bool) {
	for _, s := range slices.Backward(t.Writes(l, keys...)) {
		if n, ok := s.Number(); ok && n <= most {
			return s, n, true
		}
	}
	return Setting{}, 0, false
}

// AllHidden lists the lines that name or match key in files that are hidden by one of the same name.
func (t *Tree) AllHidden(key string) []Setting {
	key = normalize(key)
	var out []Setting
	for _, f := range t.Hidden() {
		for _, s := range settingsOf(f, Procps) {
			if w, ok := s.write(key, nil); ok && !s.bare {
				out = append(out, w)
			}
		}
	}
	return out
}

// All lists every line that names or matches key, in the order of procps' reading, whether it has an effect or not:
// bare exclusions too, but nothing of hidden files.
func (t *Tree) All(key string) []Setting {
	key = normalize(key)
	var out []Setting
	for _, s := range t.settings(Procps) {
		if w, ok := s.write(key, nil); ok {
			out = append(out, w)
		}
	}
	return out
}

// name is what the loader compares to leave a key out of a glob.
type name struct {
	path   string
	rooted bool
}

// write is the setting as applied to the key at path p. named are the keys that globs leave alone.
func (s Setting) write(p string, named map[name]bool) (Setting, bool) {
	if isGlob(s.Key) {
		if named[name{p, s.rooted}] || !matches(s.Key, p) {
			return Setting{}, false
		}
		s.Glob = dotted(s.Key)
	} else if s.Key != p {
		return Setting{}, false
	}
	s.Key = dotted(p)
	return s, true
}

// settings lists the lines of all files that the loader reads, their keys as paths.
func (t *Tree) settings(l Loader) []Setting {
	var out []Setting
	for _, f := range t.Files(l) {
		out = append(out, settingsOf(f, l)...)
	}
	return out
}

// settingsOf lists the lines of one file.
func settingsOf(f File, l Loader) []Setting {
	lines, _ := parse(f.Data, l)
	for i := range lines {
		lines[i].File = f.Path
	}
	return lines
}

// merged lists the lines in the order of writing. procps writes each in its turn. systemd keeps one a key.
func (t *Tree) merged(l Loader) []Setting {
	all := t.settings(l)
	if !l.systemd() {
		return all
	}
	last := map[name]int{} // index of the line that counts, by key
	for i, s := range all {
		key := name{s.Key, s.rooted}
		if j, ok := last[key]; ok && all[j].Value == s.Value && all[j].bare == s.bare {
			continue
		}
		last[key] = i
	}
	var out []Setting
	for i, s := range all {
		if last[name{s.Key, s.rooted}] == i {
			out = append(out, s)
		}
	}
	return out
}

// isGlob tells whether a key is a pattern to those that know patterns.
func isGlob(key string) bool { return strings.ContainsAny(key, "*?[") }

// matches is glob(7) on a path below /proc/sys: no wildcard matches a slash.
func matches(pattern, p string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "[!", "[^"), p)
	return err == nil && ok
}
