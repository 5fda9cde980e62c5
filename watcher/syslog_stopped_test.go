package watcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// stoppedCase is what happens to a file while nobody reads it, behind 10 lines that were read.
type stoppedCase struct {
	name string
	do   func(l *numbered) error
	// gone are the lines that do destroys; lost says that it is known that something is gone.
	gone []int
	lost bool
}

var stoppedCases = []stoppedCase{
	{"nothing", func(l *numbered) error { return nil }, nil, false},
	{"more lines", func(l *numbered) error { l.add(5); return nil }, nil, false},
	{"rename, new file at once", func(l *numbered) error {
		l.add(5)
		l.rename(".1")
		l.write("")
		return nil
	}, nil, false},
	{"rename, no new file yet", func(l *numbered) error {
		l.add(5)
		l.rename("-20260102")
		return nil
	}, nil, false},
	{"rename, twice", func(l *numbered) error {
		l.add(5)
		l.rename(".2")
		l.add(5)
		l.rename(".1")
		l.add(5)
		return nil
	}, nil, false},
	{"rename, an empty file between", func(l *numbered) error {
		l.add(5)
		l.rename(".3")
		l.write("")
		l.rename(".2")
		l.add(5)
		l.rename(".1")
		l.add(5)
		return nil
	}, nil, false},
	{"rename to a name of no rotation", func(l *numbered) error {
		l.add(5)
		l.rename(".before")
		l.add(5)
		return nil
	}, nil, false},
	{"copytruncate", func(l *numbered) error {
		l.add(5)
		l.copyTruncate(".1")
		l.add(5)
		return nil
	}, nil, false},
	{"copytruncate, twice", func(l *numbered) error {
		l.add(5)
		l.copyTruncate(".2")
		l.add(20)
		l.copyTruncate(".1")
		l.add(40)
		return nil
	}, nil, false},
	{"copytruncate and pack", func(l *numbered) error {
		l.add(5)
		l.copyTruncate(".1")
		pack(l.t, l.path+".1", ".xz")
		l.add(50)
		return nil
	}, nil, false},
	{"copytruncate, copy too early", func(l *numbered) error {
		text, err := os.ReadFile(l.path)
		if err != nil {
			return err
		}
		l.put(".2", string(text[:len(text)/2]))
		if err := os.Truncate(l.path, 0); err != nil {
			return err
		}
		l.add(5)
		l.copyTruncate(".1")
		l.add(5)
		return nil
	}, nil, false},
	{"truncate", func(l *numbered) error {
		l.add(5)
		err := os.Truncate(l.path, 0)
		l.add(5)
		return err
	}, []int{11, 12, 13, 14, 15}, true},
	{"delete", func(l *numbered) error { return os.Remove(l.path) }, nil, true},
	{"delete and recreate", func(l *numbered) error {
		l.add(5)
		err := os.Remove(l.path)
		l.add(5)
		return err
	}, []int{11, 12, 13, 14, 15}, true},
	{"rename over", func(l *numbered) error {
		l.add(5)
		l.put(".new", l.text(5))
		return os.Rename(l.path+".new", l.path)
	}, []int{11, 12, 13, 14, 15}, true},
	{"rewritten by an editor, and more lines", func(l *numbered) error {
		text, err := os.ReadFile(l.path)
		if err != nil {
			return err
		}
		l.put(".tmp", string(text)+l.text(5))
		return os.Rename(l.path+".tmp", l.path)
	}, nil, false},
	{"every file begins alike", func(l *numbered) error {
		header := strings.Repeat("# this is what every file begins with\n", 20)
		l.add(5)
		for _, suffix := range []string{".3", ".2", ".1"} {
			l.rename(suffix)
			l.write(header)
			l.add(5)
		}
		return nil
	}, nil, false},
	{"symlink swap", func(l *numbered) error {
		l.add(5)
		target := filepath.Join(filepath.Dir(l.path), "data-1")
		mustRename(l.t, l.path, target)
		l.put("-2", l.text(5))
		return os.Symlink(l.path+"-2", l.path)
	}, nil, false},
}

// TestPromiseStopped rotates a file in every manner while it is not read, and goes on.
func TestPromiseStopped(t *testing.T) {
	lines, missing, gone, twice := 0, 0, 0, 0
	for _, tt := range stoppedCases {
		t.Run(tt.name, func(t *testing.T) {
			l := newNumbered(t)
			l.add(10)
			l.start()
			l.untilCaughtUp()
			l.stop()
			if err := tt.do(l); err != nil {
				t.Fatal(err)
			}
			l.start()
			l.until("the end", func() bool { return l.caughtUp && (l.n == 10 || l.got[len(l.got)-1] == l.n) })
			l.add(1)
			l.untilLine(l.n)
			l.stop()
			l.wantAll(tt.gone...)
			if (l.lost > 0) != tt.lost {
				t.Errorf("said to be lost: %d %q; want that: %v", l.lost, l.lostText, tt.lost)
			}
			lines, missing, gone, twice = lines+l.n, missing+l.missing(), gone+len(tt.gone), twice+l.twice()
		})
	}
	testhost.Held(t, "2.2 rotated while stopped", "lost %d (destroyed: %d), twice %d of %d lines in %d cases",
		missing, gone, twice, lines, len(stoppedCases))
}

// TestPromiseInodeReuse has other files of the family carry the inode of the position, as file systems give the inode of
// a file that was deleted to the next one.
func TestPromiseInodeReuse(t *testing.T) {
	for _, name := range []string{"kern.log", "kern.log.1", "kern.log.3.gz"} {
		for _, read := range []int{10, 0} {
			t.Run(fmt.Sprintf("%s,%d lines read", name, read), func(t *testing.T) {
				l := newNumbered(t)
				l.add(read)
				if read == 0 {
					l.write("")
				}
				l.start()
				l.until("the beginning", func() bool { return l.caughtUp && len(l.got) == read })
				l.stop()
				waitForClock(t, l.path)
				l.add(5)
				for _, suffix := range []string{".3", ".2", ".1"} {
					l.rename(suffix)
					l.add(5)
					if suffix != ".1" {
						pack(t, l.path+suffix, ".gz")
					}
				}
				l.useInode(filepath.Join(filepath.Dir(l.path), name))
				l.start()
				l.untilCaughtUp()
				l.stop()
				l.wantAll()
				if l.lost > 0 {
					t.Errorf("said to be lost: %s", l.lostText)
				}
			})
		}
	}
	testhost.Held(t, "2.3 inode used again", "lost 0, twice 0 with the inode at the live file, a plain and a packed one")
}

// useInode has the position name the inode of another file.
func (l *numbered) useInode(path string) {
	l.t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		l.t.Fatal(err)
	}
	var pos syslogPosition
	if err := json.Unmarshal(l.last, &pos); err != nil {
		l.t.Fatal(err)
	}
	pos.fileID = idOf(info)
	if l.last, err = json.Marshal(pos); err != nil {
		l.t.Fatal(err)
	}
}

// waitForClock waits until a change of path now gets another time than its last one: kernels before 6.13 count the times
// of files in ticks.
func waitForClock(t *testing.T, path string) {
	t.Helper()
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(t.TempDir(), "probe")
	testhost.Eventually(t, "the clock of files goes on", func() bool {
		err := os.WriteFile(probe, []byte("x"), 0o600)
		now, statErr := os.Stat(probe)
		return errors.Join(err, statErr) == nil && now.ModTime().After(before.ModTime())
	})
}

// TestPromiseLinkElsewhere follows a link to a file in another directory, which is rotated there, and re-points the link
// to yet another.
func TestPromiseLinkElsewhere(t *testing.T) {
	l := newNumbered(t)
	var logs []*logged
	for range 2 {
		logs = append(logs, &logged{t: t, path: filepath.Join(t.TempDir(), "messages")})
	}
	if err := os.Symlink(logs[0].path, l.path); err != nil {
		t.Fatal(err)
	}
	l.add(10)
	l.start()
	l.untilCaughtUp()
	for i, log := range logs {
		l.stop()
		for _, suffix := range []string{".2", ".1", ""} {
			log.write(l.text(5))
			waitForClock(t, log.path)
			if suffix != "" {
				log.rename(suffix)
			}
		}
		pack(t, log.path+".2", ".gz")
		if i == 0 {
			if err := errors.Join(os.Remove(l.path), os.Symlink(logs[1].path, l.path)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		l.start()
		l.untilCaughtUp()
	}
	l.stop()
	l.wantAll()
	if l.lost > 0 {
		t.Errorf("said to be lost: %s", l.lostText)
	}
	testhost.Held(t, "2.4 symlink to other directories", "lost %d, twice %d of %d lines", l.missing(), l.twice(), l.n)
}

// TestSyslogPositions begins afresh with positions that say nothing, and refuses those that are none.
func TestSyslogPositions(t *testing.T) {
	for text, ok := range map[string]bool{
		"{}": true, `{"offset":9223372036854775807,"print":"x"}`: true, `{"ino":1,"offset":4,"next":{"ino":5}}`: true,
		`{"offset":-1}`: false, `[]`: false, `{"offset":"1"}`: false, "": false, "\x00": false,
	} {
		t.Run(text, func(t *testing.T) {
			l := newLogged(t)
			l.write(kernLine(1))
			l.cfg.Position = []byte(text)
			s, err := NewSyslog(l.cfg)
			if (err == nil) != ok {
				t.Fatalf("NewSyslog = %v", err)
			}
			if ok {
				wantMonos(t, run(t, s).next(t, matches(1)).Matches, 1, 1)
			}
		})
	}
}
