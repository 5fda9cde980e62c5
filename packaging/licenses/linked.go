package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// work is a directory of sources, with those below it, that has license files of its own: a module, or a part of one.
type work struct {
	path  string // as an import path
	texts []string
	// notice is what a NOTICE file says, which the Apache license wants to be passed on.
	notice string
}

// licenseFile is what license files are called.
var licenseFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)([.-].*)?$`)

// linked are the works whose packages are linked into the program, by path, the Go library first.
func linked(program, tags string) ([]work, error) {
	format := `{{with .Module}}{{if .Main}}{{"\t"}}{{else}}{{.Path}}{{"\t"}}{{.Dir}}{{end}}{{end}}{{"\t"}}{{.Dir}}`
	out, err := goTool("list", "-deps", "-tags", tags, "-f", format, program)
	if err != nil {
		return nil, err
	}
	root, err := goTool("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	library, err := readWork("Go's library", strings.TrimSpace(root))
	if err != nil {
		return nil, err
	}
	all := map[string]work{}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		fields := strings.Split(line, "\t")
		if len(fields) != 3 {
			continue // of Go's library
		}
		if fields[0] == "" {
			if err := vendored(all, fields[2]); err != nil {
				return nil, err
			}
			continue
		}
		if err := gather(all, fields[0], fields[1], fields[2]); err != nil {
			return nil, err
		}
	}
	works := []work{library}
	for _, w := range all {
		works = append(works, w)
	}
	slices.SortFunc(works[1:], func(a, b work) int { return strings.Compare(a.path, b.path) })
	return works, nil
}

// gather adds the works that a package is part of: every directory from its own up to its module's that has license files.
func gather(all map[string]work, module, moduleDir, dir string) error {
	for {
		below, err := filepath.Rel(moduleDir, dir)
		if err != nil {
			return err
		}
		name := path.Join(module, filepath.ToSlash(below))
		if _, known := all[name]; !known {
			w, err := readWork(name, dir)
			switch {
			case err == nil:
				all[name] = w
			case below == "." || !errors.Is(err, errNoLicense):
				return err
			}
		}
		if below == "." {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// vendored adds the works of others that a package of ours embeds: each has a directory below static/vendor.
func vendored(all map[string]work, dir string) error {
	dirs, err := filepath.Glob(filepath.Join(dir, "static", "vendor", "*"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		name := path.Join("static/vendor", filepath.Base(d))
		w, err := readWork(name, d)
		if err != nil {
			return err
		}
		all[name] = w
	}
	return nil
}

var errNoLicense = errors.New("no license file")

// readWork reads the license files of a directory.
func readWork(name, dir string) (work, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return work{}, err
	}
	w := work{path: name}
	for _, e := range entries {
		if e.Type()&fs.ModeDir != 0 || !licenseFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return work{}, err
		}
		if strings.HasPrefix(strings.ToLower(e.Name()), "notice") {
			w.notice = string(text)
		} else {
			w.texts = append(w.texts, string(text))
		}
	}
	if len(w.texts) == 0 {
		return work{}, fmt.Errorf("%s: %w", name, errNoLicense)
	}
	return w, nil
}

func goTool(args ...string) (string, error) {
	out, err := exec.Command("go", args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, exit.Stderr)
	}
	return string(out), err
}
