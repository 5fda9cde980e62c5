package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keptFile is a file of this machine as it was before the demo.
type keptFile struct {
	path   string
	data   []byte
	there  bool
	hasDir bool
}

// keepFile remembers a file, so that it can be restored.
func keepFile(path string) (keptFile, error) {
	_, err := os.Stat(filepath.Dir(path))
	k := keptFile{path: path, hasDir: err == nil}
	k.data, err = os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k, nil
	case err != nil:
		return k, err
	}
	k.there = true
	return k, nil
}

// restore puts the file back as it was, or removes it if it was not there.
func (k keptFile) restore() error {
	if k.there {
		if now, err := os.ReadFile(k.path); err == nil && bytes.Equal(now, k.data) {
			return nil
		}
		return os.WriteFile(k.path, k.data, 0o644)
	}
	if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !k.hasDir {
		return os.Remove(filepath.Dir(k.path))
	}
	return nil
}

// show prints a file, indented.
func show(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		fmt.Println("   ", err)
		return
	}
	for line := range strings.Lines(string(text)) {
		fmt.Print("    ", line)
	}
}
