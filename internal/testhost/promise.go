package testhost

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The environment of a run of the suite that breaks things (make torture).
const (
	// LongEnv set to anything asks for the long form, which takes hours.
	LongEnv = "CTWARDEN_TORTURE_LONG"
	// PromisesEnv names a file that a line is added to for each promise that was seen to hold.
	PromisesEnv = "CTWARDEN_PROMISES"
)

// Long tells whether the long form of the suite is wanted.
func Long() bool { return os.Getenv(LongEnv) != "" }

// Amount is short, or long in the long form.
func Amount(short, long int) int {
	if Long() {
		return long
	}
	return short
}

// Held says that a promise of RELIABILITY.md was seen to hold, with the figures of this run. Promise is its number and
// name there, such as "2.3 copytruncate". A test that has failed says nothing.
func Held(t testing.TB, promise, format string, args ...any) {
	t.Helper()
	if t.Failed() {
		return
	}
	line := promise + ": " + strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	t.Log(line)
	path := os.Getenv(PromisesEnv)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil { // one write, so that lines of several programs stay whole
		t.Fatal(err)
	}
}
