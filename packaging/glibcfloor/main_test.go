package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// compile builds a C program that calls one function of the C library.
func compile(t *testing.T, source string, flags ...string) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		testhost.Skip(t, "needs gcc")
	}
	dir := t.TempDir()
	file, program := filepath.Join(dir, "main.c"), filepath.Join(dir, "main")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-o", program, file}, flags...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	return program
}

// callsGettid calls a function that came with glibc 2.30. It has no main of its own, so that this host's start code, which
// may be of a newer version, is not in it.
const callsGettid = "int gettid(void);\nvoid _start(void) { gettid(); }\n"

func TestFloor(t *testing.T) {
	program := compile(t, callsGettid, "-nostartfiles")
	for _, c := range []struct{ name, floor, said, problem string }{
		{"above the floor", "2.28", "", "gettid asks for GLIBC_2.30, above GLIBC_2.28"},
		{"at the floor", "2.30", "newest is GLIBC_2.30 (gettid)", ""},
		{"a floor of three numbers", "2.2.5", "", "above GLIBC_2.2.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := run([]string{"-floor", c.floor, program}, &out)
			if c.problem == "" && err != nil || c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
				t.Errorf("error %v, want %q", err, c.problem)
			}
			if !strings.Contains(out.String(), c.said) {
				t.Errorf("said %q, want %q", out.String(), c.said)
			}
		})
	}
}

// TestNeeded has a library that is not allowed among those that the program cannot start without.
func TestNeeded(t *testing.T) {
	dir := t.TempDir()
	library := filepath.Join(dir, "libextra.so")
	source := filepath.Join(dir, "extra.c")
	if err := os.WriteFile(source, []byte("int extra(void) { return 0; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-Wl,-soname,libextra.so.7", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	program := compile(t, "int extra(void);\nvoid _start(void) { extra(); }\n", "-nostartfiles", "-L"+dir, "-lextra")
	err := run([]string{program}, new(bytes.Buffer))
	if err == nil || !strings.Contains(err.Error(), "does not start without libextra.so.7") {
		t.Errorf("error %v", err)
	}
}

func TestStatic(t *testing.T) {
	program := filepath.Join(t.TempDir(), "static")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	var out bytes.Buffer
	if err := run([]string{program}, &out); err != nil || !strings.Contains(out.String(), "static") {
		t.Errorf("%v, said %q", err, out.String())
	}
}
