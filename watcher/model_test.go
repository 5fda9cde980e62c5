package watcher

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// model does to a syslog file whatever can be done to it, in random order, and knows which lines must have been
// delivered. It does nothing whose outcome is open: what it destroys has been delivered before, and a rotation is over
// before the next line is written. The reader looks whenever it does.
type model struct {
	*numbered
	random  *rand.Rand
	rotated int // the highest number of a rotated file
	did     []string
}

// operations are what the model does, each as often as it is listed.
var operations = []func(m *model) string{
	(*model).writeLines, (*model).writeLines, (*model).writeLines, (*model).writeLines, (*model).writeMany,
	(*model).renameCreate, (*model).renameOnly, (*model).copied, (*model).copied,
	(*model).packOne, (*model).packOne, (*model).stopOrStart, (*model).stopOrStart,
	(*model).takeSome, (*model).readAll, (*model).truncate, (*model).recreate,
}

func (m *model) writeLines() string { m.add(1 + m.random.IntN(20)); return "write" }
func (m *model) writeMany() string  { m.add(3000); return "write many" }

// shift moves every rotated file up by one.
func (m *model) shift() {
	m.t.Helper()
	for n := m.rotated; n > 0; n-- {
		for _, ext := range []string{"", ".gz", ".xz", ".zst"} {
			err := os.Rename(fmt.Sprintf("%s.%d%s", m.path, n, ext), fmt.Sprintf("%s.%d%s", m.path, n+1, ext))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				m.t.Fatal(err)
			}
		}
	}
	m.rotated++
}

func (m *model) renameOnly() string {
	if _, err := os.Stat(m.path); err != nil {
		return "rename nothing"
	}
	m.shift()
	m.rename(".1")
	return "rename"
}

func (m *model) renameCreate() string {
	did := m.renameOnly()
	m.write("")
	return did + " and create"
}

func (m *model) copied() string {
	if _, err := os.Stat(m.path); err != nil {
		return "copy nothing"
	}
	m.shift()
	m.copyTruncate(".1")
	return "copytruncate"
}

// packOne packs one of the rotated files as packers do: the packed one gets the time of the plain one, which goes last.
func (m *model) packOne() string {
	if m.rotated == 0 {
		return "pack nothing"
	}
	path := fmt.Sprintf("%s.%d", m.path, 1+m.random.IntN(m.rotated))
	info, err := os.Stat(path)
	if err != nil {
		return "pack nothing"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	ext := []string{"gz", "xz", "zst"}[m.random.IntN(3)]
	err = os.WriteFile(path+"."+ext, packers[ext](m.t, text), 0o600)
	err = errors.Join(err, os.Chtimes(path+"."+ext, info.ModTime(), info.ModTime()), os.Remove(path))
	if err != nil {
		m.t.Fatal(err)
	}
	return "pack " + path[len(m.path):]
}

func (m *model) stopOrStart() string {
	if m.reader == nil {
		m.start()
		return "start"
	}
	m.stop()
	m.reader = nil
	if _, err := os.Stat(m.path); err == nil {
		waitForClock(m.t, m.path)
	}
	return "stop"
}

// takeSome takes what the reader has to give right now.
func (m *model) takeSome() string {
	if m.reader == nil {
		return "take nothing"
	}
	end := time.NewTimer(time.Duration(m.random.IntN(300)) * time.Millisecond)
	defer end.Stop()
	for {
		select {
		case b := <-m.reader.out:
			m.book(b)
		case <-end.C:
			return "take"
		}
	}
}

// readAll has all that was written delivered.
func (m *model) readAll() string {
	if m.reader == nil {
		m.start()
	}
	m.until("all lines", func() bool { return m.caughtUp && (m.n == 0 || len(m.got) > 0 && m.got[len(m.got)-1] == m.n) })
	return "read all"
}

func (m *model) truncate() string {
	did := m.readAll()
	if _, err := os.Stat(m.path); err != nil {
		return did
	}
	if err := os.Truncate(m.path, 0); err != nil {
		m.t.Fatal(err)
	}
	m.seen()
	return did + ", truncate"
}

func (m *model) recreate() string {
	did := m.readAll()
	if err := os.Remove(m.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	m.seen()
	return did + ", delete and recreate"
}

// seen waits until the reader has seen that the file is another. If it did not, the place that it was read to would be
// gone, and it would have to say that something may be lost.
func (m *model) seen() {
	m.add(1)
	m.readAll()
}

// byRate is what is said of a file that was truncated while it was written to, be it that nothing came in between.
var byRate = regexp.MustCompile(`\S+ was (copied and )?truncated (\d+ times )?while it was written to[^;]*; to lose none[^;]*; `)

// seedEnv names the first seed, to see a run again.
const seedEnv = "CTWARDEN_TORTURE_SEED"

// TestPromiseModel does random things to a file.
func TestPromiseModel(t *testing.T) {
	seeds, steps := testhost.Amount(6, 300), testhost.Amount(40, 120)
	first := uint64(1)
	if testhost.Long() {
		first = uint64(time.Now().Unix())
	}
	if seed, err := strconv.ParseUint(os.Getenv(seedEnv), 10, 64); err == nil {
		first, seeds = seed, 1
	}
	var lines, lost, twice, done atomic.Int64
	t.Run("all", func(t *testing.T) {
		for i := range seeds {
			seed := first + uint64(i)
			t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
				t.Parallel()
				l := testModel(t, seed, steps)
				lines.Add(int64(l.n))
				lost.Add(int64(l.missing()))
				twice.Add(int64(l.twice()))
				done.Add(int64(steps))
			})
		}
	})
	testhost.Held(t, "2.6 random sequences", "lost %d, twice %d of %d lines in %d operations, seeds %d to %d",
		lost.Load(), twice.Load(), lines.Load(), done.Load(), first, first+uint64(seeds)-1)
}

func testModel(t *testing.T, seed uint64, steps int) *numbered {
	m := &model{numbered: newNumbered(t), random: rand.New(rand.NewPCG(seed, 0))}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d: %q", seed, m.did)
		}
	}()
	m.write("")
	m.start()
	m.until("the beginning", func() bool { return m.caughtUp })
	for range steps {
		do := operations[m.random.IntN(len(operations))]
		m.did = append(m.did, "")
		m.did[len(m.did)-1] = do(m)
	}
	m.add(1)
	m.readAll()
	m.stop()
	m.wantAll()
	if other := byRate.ReplaceAllString(m.lostText, ""); other != "" {
		t.Errorf("said to be lost, and nothing was: %s", other)
	}
	return m.numbered
}
