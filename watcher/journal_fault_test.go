//go:build linux && cgo

package watcher

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// inJournal counts how often each word stands in the journal, with nothing but journalctl.
func inJournal(t *testing.T, dir string) map[string]int {
	t.Helper()
	out, err := exec.Command("journalctl", "-D", dir, "-q", "-o", "cat", "_TRANSPORT=kernel").Output()
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, word := range recordWord.FindAllString(string(out), -1) {
		n[word]++
	}
	return n
}

// machineDir is the directory that holds the journal's files.
func machineDir(t *testing.T, d *testhost.Journald) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(d.Dir, "*", "system.journal"))
	if err != nil || len(files) != 1 {
		t.Fatalf("journal files %v, %v", files, err)
	}
	return filepath.Dir(files[0])
}

// TestPromiseJournaldKilled kills journald while it is followed, and starts it again.
func TestPromiseJournaldKilled(t *testing.T) {
	d := testhost.StartJournald(t)
	f := follow(t, JournalConfig{Directory: d.Dir, Host: "*"})
	kills := testhost.Amount(10, 90) // a file each, and journald keeps a hundred
	var words []string
	for range kills {
		words = append(words, testhost.KernelRecords(t, 5)...)
		d.Kill(t)
		words = append(words, testhost.KernelRecords(t, 2)...) // while none is there
		d.Restart(t)
	}
	words = append(words, testhost.KernelRecords(t, 1)...)
	f.wait(t, words[len(words)-1:])
	f.stop(t)
	stand, lost, twice := inJournal(t, d.Dir), 0, 0
	for _, word := range words {
		lost += max(0, stand[word]-f.seen[word])
		twice += max(0, f.seen[word]-stand[word])
	}
	if lost+twice > 0 || len(f.losses()) > 0 {
		t.Errorf("lost %d, twice %d of %d; %q", lost, twice, len(words), f.losses())
	}
	testhost.Held(t, "1.6 journald killed and started again",
		"lost %d, twice %d of %d kernel records in %d kills", lost, twice, len(words), kills)
}

// TestPromiseJournalDamaged damages the files of a journal that is followed, in the ways that disks and people do, and
// sees that what comes afterwards is read.
func TestPromiseJournalDamaged(t *testing.T) {
	garbage := []byte(strings.Repeat("not a journal ", 5000))
	tests := []struct {
		name string
		// stopped is where it is done while nobody follows: libsystemd 252 does not survive it.
		stopped bool
		damage  func(active string) error
	}{
		{"cut to nothing", false, func(f string) error { return os.Truncate(f, 0) }},
		{"cut off in its header", false, func(f string) error { return os.Truncate(f, 100) }},
		{"cut off among its records", false, func(f string) error { return os.Truncate(f, 300<<10) }},
		{"header overwritten", true, func(f string) error { return overwrite(f, 0, garbage[:256]) }},
		{"records overwritten", false, func(f string) error { return overwrite(f, 200<<10, garbage) }},
		{"number of records wrong", false, func(f string) error { return overwrite(f, 152, []byte{255, 255, 255, 255, 255, 0, 0, 0}) }},
		{"removed", false, os.Remove},
		{"directory removed", false, func(f string) error { return os.RemoveAll(filepath.Dir(f)) }},
		{"foreign files beside it", false, func(f string) error {
			dir := filepath.Dir(f)
			return firstError(
				os.WriteFile(filepath.Join(dir, "system@0006614f179aae99-dd7588206ddb8eb2.journal~"), garbage, 0o640),
				os.WriteFile(filepath.Join(dir, "system@empty.journal"), nil, 0o640),
				os.Mkdir(filepath.Join(dir, "system@directory.journal"), 0o750),
			)
		}},
	}
	d := testhost.StartJournald(t)
	f := follow(t, JournalConfig{Directory: d.Dir, Host: "*"})
	whole := t // journald is to outlive each case
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			words := testhost.KernelRecords(t, 3)
			f.wait(t, words)
			d.Kill(t)
			if tt.stopped {
				f.stop(t)
			}
			if err := tt.damage(filepath.Join(machineDir(t, d), "system.journal")); err != nil {
				t.Fatal(err)
			}
			d.Restart(whole)
			after := testhost.KernelRecords(t, 3)
			if tt.stopped {
				f = follow(whole, JournalConfig{Directory: d.Dir, Host: "*", Position: f.total().Position.Data})
			}
			f.wait(t, after)
			if _, twice := f.count(append(words, after...)); twice > 0 {
				t.Errorf("twice %d", twice)
			}
		})
	}
	f.stop(t)
	testhost.Held(t, "1.7 damaged journal files", "the source outlived %d kinds of damage, and read all that came afterwards once",
		len(tests))
}

func overwrite(file string, at int64, data []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(data, at)
	return err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestPromiseJournalForeignPosition resumes from positions that are not of this journal.
func TestPromiseJournalForeignPosition(t *testing.T) {
	cursor := func(boot string, at time.Time) string {
		return fmt.Sprintf("s=%032x;i=7;b=%s;m=5f5e100;t=%x;x=1", 15, boot, at.UnixMicro())
	}
	other, now := strings.Repeat("0e", 16), time.Now()
	own, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, cursor string }{
		{"another machine, an hour ago", cursor(other, now.Add(-time.Hour))},
		{"another machine, of a time to come", cursor(other, now.AddDate(70, 0, 0))},
		{"another machine, the year 9999", cursor(other, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))},
		{"another machine, 1970", cursor(other, time.UnixMicro(1))},
		{"this boot, another journal", cursor(own, now.AddDate(70, 0, 0))},
		{"no cursor", "s=;;=;t"},
		{"text", strings.Repeat("x", 4096)},
	}
	d := testhost.StartJournald(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := follow(t, JournalConfig{
				Directory: d.Dir, Host: "*", Position: fmt.Appendf(nil, `{"cursor":%q}`, tt.cursor), Lookback: time.Minute,
			})
			words := testhost.KernelRecords(t, 2)
			f.wait(t, words)
			f.stop(t)
			if _, twice := f.count(words); twice > 0 || len(f.losses()) != 1 {
				t.Errorf("twice %d; %q", twice, f.losses())
			}
		})
	}
	testhost.Held(t, "1.8 positions of another journal", "%d of %d told of, and what came afterwards read once", len(tests), len(tests))
}
