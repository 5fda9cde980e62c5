package watcher

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// numbered is a syslog file whose lines are numbered from 1, and what was delivered of them.
type numbered struct {
	*logged
	n        int // the last line that was written
	got      []int
	lost     uint64
	lostText string
	told     int    // how many batches said that something is lost
	losses   []int  // how much each of them counted
	caughtUp bool   // as said by the present reader
	last     []byte // the newest position
	state    *State // as said last
	reader   *running
}

func newNumbered(t *testing.T) *numbered { return &numbered{logged: newLogged(t)} }

// text makes the next so many lines.
func (l *numbered) text(lines int) string {
	var text strings.Builder
	for range lines {
		l.n++
		text.WriteString(kernLine(l.n))
	}
	return text.String()
}

// add writes the next so many lines.
func (l *numbered) add(lines int) {
	l.t.Helper()
	l.write(l.text(lines))
}

// start begins to read at the newest position.
func (l *numbered) start() {
	l.t.Helper()
	l.cfg.Position, l.caughtUp = l.last, false
	l.reader = l.run()
}

// stop ends the reader; what it has not delivered by now the next one must.
func (l *numbered) stop() {
	l.t.Helper()
	l.reader.stop(l.t)
}

// book takes what was delivered.
func (l *numbered) book(b Batch) {
	for _, m := range b.Matches {
		l.got = append(l.got, int(m.Mono/time.Microsecond))
	}
	l.lost += b.Stats.Lost
	if b.Stats.LostText != "" {
		l.told++
		l.losses = append(l.losses, int(b.Stats.Lost))
		l.lostText += b.Stats.LostText + "; "
	}
	if b.Position.Data != nil {
		l.last = b.Position.Data
	}
	if b.State != nil {
		l.state = b.State
	}
	l.caughtUp = b.CaughtUp
}

// until reads on until enough is true, which is asked after each batch and every so often. It gives up when nothing comes any more.
func (l *numbered) until(what string, enough func() bool) {
	l.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !enough() {
		select {
		case b := <-l.reader.out:
			l.book(b)
			if len(b.Matches) > 0 || b.Position.Data != nil || b.State != nil { // else it is a sign of life alone
				deadline.Reset(patience)
			}
		case <-tick.C:
		case <-deadline.C:
			l.t.Fatalf("gave up waiting for %s; %d came of %d lines, lost %d %s, position %s", what, len(l.got), l.n, l.lost,
				l.lostText, l.last)
		}
	}
}

// untilLine reads on until line n was delivered.
func (l *numbered) untilLine(n int) {
	l.t.Helper()
	l.until("a line", func() bool { return len(l.got) > 0 && l.got[len(l.got)-1] >= n })
}

// untilCaughtUp reads on until all that was there at the start was delivered, and the last line.
func (l *numbered) untilCaughtUp() {
	l.t.Helper()
	l.until("the end", func() bool { return l.caughtUp && len(l.got) > 0 && l.got[len(l.got)-1] >= l.n })
}

// wantAll fails unless every line was delivered once, in order, but for those of gone, which may be missing.
func (l *numbered) wantAll(gone ...int) {
	l.t.Helper()
	if missing, twice := l.missing(gone...), l.twice(); missing > 0 || twice > 0 {
		l.t.Errorf("lost %d, twice %d of %d lines; said to be lost %d %s", missing, twice, l.n, l.lost, l.lostText)
	}
	if !slices.IsSorted(l.got) {
		l.t.Errorf("delivered out of order: %d", l.got[:min(len(l.got), 50)])
	}
}

// wantCounted fails where lines are lost and that was not told, or the number that was counted is beyond its bounds: in each
// rotation half of what is lost, less what comes in 20 ms, and twice that, and what comes in 100 ms. So much come a second.
func (l *numbered) wantCounted(rotations, rate int) {
	l.t.Helper()
	lost, counted := l.missing(), int(l.lost)
	least, most := lost/2-rotations*rate/50, 2*lost+rotations*rate/10
	if lost > 0 && l.told == 0 || counted < least || counted > most {
		l.t.Errorf("%d lines are lost, and %d counted, %d times; want %d to %d", lost, counted, l.told, least, most)
	}
}

// wantNothingTold fails where anything was said to be lost, be it of unknown number.
func (l *numbered) wantNothingTold() {
	l.t.Helper()
	if l.told > 0 || l.lost > 0 {
		l.t.Errorf("said to be lost, and nothing was: %d %s", l.lost, l.lostText)
	}
}

// missing counts the lines that were not delivered, but for those of gone.
func (l *numbered) missing(gone ...int) int {
	seen := make([]bool, l.n+1)
	for _, n := range slices.Concat(l.got, gone) {
		seen[n] = true
	}
	missing := 0
	for _, ok := range seen[1:] {
		if !ok {
			missing++
		}
	}
	return missing
}

// twice counts the deliveries of lines that had been delivered already.
func (l *numbered) twice() int {
	got := slices.Sorted(slices.Values(l.got))
	return len(got) - len(slices.Compact(got))
}

// packCommands pack a file in place and take the plain one away, as logrotate has it done.
var packCommands = map[string]string{".gz": "gzip", ".xz": "xz", ".zst": "zstd", ".bz2": "bzip2"}

// pack packs a file with the real program.
func pack(t *testing.T, path, ext string) {
	t.Helper()
	if ext == "" {
		return
	}
	needPacker(t, ext)
	if err := packFile(path, ext); err != nil {
		t.Fatal(err)
	}
}

// needPacker skips the test where the program is not there that packs to ext.
func needPacker(t *testing.T, ext string) {
	t.Helper()
	if _, err := exec.LookPath(packCommands[ext]); err != nil {
		testhost.Skip(t, "needs "+packCommands[ext]+": "+err.Error())
	}
}

// packFile is pack for other goroutines than the test's.
func packFile(path, ext string) error {
	args := []string{path}
	if ext == ".zst" {
		args = []string{"-q", "--rm", path}
	}
	if out, err := exec.Command(packCommands[ext], args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", packCommands[ext], args, err, out)
	}
	return nil
}

// mustRename renames a file.
func mustRename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
