package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// checkout is a git repository of the test's own.
type checkout struct {
	t   *testing.T
	dir string
}

func (c checkout) git(args ...string) {
	c.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (c checkout) commit(text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, "file"), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.git("add", "file")
	c.git("commit", "-q", "-m", text)
}

// version is what scripts/version.sh says there.
func (c checkout) version() string {
	c.t.Helper()
	script, err := filepath.Abs("../scripts/version.sh")
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command("sh", script)
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("version.sh: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// history are the versions that a repository has in the course of time, oldest first.
func history(t *testing.T) []string {
	t.Helper()
	c := checkout{t, t.TempDir()}
	var all []string
	next := func(want string) {
		t.Helper()
		got := c.version()
		if !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("version %s, want %s", got, want)
		}
		all = append(all, got)
	}
	c.git("init", "-q")
	c.commit("one")
	next(`0\.0\.0~1\.g[0-9a-f]{10}`)
	if err := os.WriteFile(filepath.Join(c.dir, "file"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	next(`0\.0\.0~1\.g[0-9a-f]{10}\.dirty`)
	c.commit("two")
	next(`0\.0\.0~2\.g[0-9a-f]{10}`)
	c.git("tag", "v1.2.0-rc.1")
	next(`1\.2\.0~rc\.1`)
	c.commit("three")
	next(`1\.2\.0~rc\.1\+1\.g[0-9a-f]{10}`)
	c.git("tag", "v1.2.0")
	next(`1\.2\.0`)
	for i := range 10 {
		c.commit(fmt.Sprint("further", i))
	}
	next(`1\.2\.0\+10\.g[0-9a-f]{10}`)
	c.git("tag", "v1.2.1")
	next(`1\.2\.1`)
	return all
}

// TestVersionsAreOrdered has dpkg and rpm agree that each version of a history is newer than the one before.
func TestVersionsAreOrdered(t *testing.T) {
	versions := history(t)
	for i := 1; i < len(versions); i++ {
		older, newer := versions[i-1], versions[i]
		if err := exec.Command("dpkg", "--compare-versions", older, "lt", newer).Run(); err != nil {
			t.Errorf("dpkg: %s is not older than %s: %v", older, newer, err)
		}
		if _, err := exec.LookPath("rpm"); err != nil {
			continue
		}
		said := output(t, "rpm", "--eval", fmt.Sprintf("%%{lua: print(rpm.vercmp('%s', '%s'))}", older, newer))
		if strings.TrimSpace(said) != "-1" {
			t.Errorf("rpm: %s and %s compare as %s, want -1", older, newer, said)
		}
	}
}
