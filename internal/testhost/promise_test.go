package testhost

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReliabilityNamesEveryPromise holds RELIABILITY.md against the tests: every test of a promise stands there, and
// every test and every number that stands there exists.
func TestReliabilityNamesEveryPromise(t *testing.T) {
	page, err := os.ReadFile("../../RELIABILITY.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests, promises, numbers []string
	eachTestFile(t, func(text string) {
		tests = append(tests, all(`(?m)^func (Test\w+)\(`, text)...)
		promises = append(promises, all(`(?m)^func (TestPromise\w+)\(`, text)...)
		numbers = append(numbers, all(`(?:Held|saved)\(t, "(\d+\.\d+) `, text)...)
	})
	fuzz, err := os.ReadFile("../../scripts/fuzz.sh")
	if err != nil {
		t.Fatal(err)
	}
	numbers = append(numbers, all(`"(\d+\.\d+) [a-z]`, string(fuzz))...)
	same(t, "tests of promises", all("`(TestPromise\\w+)`", string(page)), promises)
	same(t, "numbers of promises", all(`(?m)^\| (\d+\.\d+) \|`, string(page)), numbers)
	for _, name := range all("`(Test\\w+)`", string(page)) {
		if !slices.Contains(tests, name) {
			t.Errorf("RELIABILITY.md has %s, which does not exist", name)
		}
	}
}

// eachTestFile hands the text of every test file of the module to take.
func eachTestFile(t *testing.T, take func(text string)) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		take(string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// all returns what the first group of pattern matches in text.
func all(pattern, text string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

func same(t *testing.T, what string, page, code []string) {
	t.Helper()
	for _, name := range page {
		if !slices.Contains(code, name) {
			t.Errorf("%s: RELIABILITY.md has %s, which no test has", what, name)
		}
	}
	for _, name := range code {
		if !slices.Contains(page, name) {
			t.Errorf("%s: %s does not stand in RELIABILITY.md", what, name)
		}
	}
}
