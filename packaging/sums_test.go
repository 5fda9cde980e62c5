package packaging

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSums has SHA256SUMS name every file beside it, with its sum.
func TestSums(t *testing.T) {
	dir := packagesDir(t)
	text, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for _, line := range listed(string(text)) {
		sum, name, ok := strings.Cut(line, "  ")
		if !ok {
			t.Fatalf("line %q", line)
		}
		sums[name] = sum
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "SHA256SUMS") {
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(body)
		if sums[e.Name()] != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: SHA256SUMS has %q", e.Name(), sums[e.Name()])
		}
		delete(sums, e.Name())
	}
	for name := range sums {
		t.Errorf("%s is in SHA256SUMS and not there", name)
	}
}
