package e2e

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// noneRefused is a row of the agent where nothing was refused or thrown out, and the limit raised, which it need not be
// where the traffic never reached the kernel. Its further parts are the limit at the end and the packets/s.
var noneRefused = regexp.MustCompile(`(?m)^\| (ctwarden|a namespace that was just made.*)` +
	` \| 0 \| 0 \| 0 \| ([\d,]+)[^|]* \| [1-9][^|]* \| ([\d,]+) \|`)

// TestNothingIsRefused is the short form of make bench-refused: 100,000 new connections a second from a limit of 20,000
// on, in a namespace that is watched and in one that was just made, with the agent as it ships. The limit ends at no
// more than twice what the 300,000 need.
func TestNothingIsRefused(t *testing.T) {
	testkernel.Require(t)
	program, err := plainBuild()
	if err != nil {
		t.Fatal(err)
	}
	bench := filepath.Join(bin, "refused")
	if err := goBuild("-o", bench, "../../testdata/refused"); err != nil {
		t.Fatal(err)
	}
	p := launch(t, nil, bench, "-runs", "1", "-rows", "^ctwarden$|just made", "-program", program)
	select {
	case err = <-p.ended:
	case <-time.After(5 * time.Minute): // others may hold the lock
		t.Fatal("does not end")
	}
	out := p.output.String()
	rows := noneRefused.FindAllStringSubmatch(out, -1)
	if len(rows) != 2 {
		t.Fatalf("%v; not two rows without refusals in\n%s", err, out)
	}
	const need, pace = 300_000, 95_000
	heldUp := false
	for _, row := range rows {
		// Where the senders had to wait for a CPU, their flows came in bursts that are faster than the rate.
		if number(t, row[3]) < pace {
			t.Logf("%s: sent at %s/s, so the limit of %s is not judged", row[1], row[3], row[2])
			heldUp = true
		} else if limit := number(t, row[2]); limit < need || limit > 2*need {
			t.Errorf("%s: the limit ends at %d, want %d to %d", row[1], limit, need, 2*need)
		}
	}
	if err != nil && !heldUp {
		t.Errorf("%v of\n%s", err, out)
	}
}

// number reads one with its thousands apart.
func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.ReplaceAll(s, ",", ""))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
