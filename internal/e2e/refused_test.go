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
// where the traffic never reached the kernel. Its second part is the limit at the end.
var noneRefused = regexp.MustCompile(
	`(?m)^\| (ctwarden|a namespace that was just made.*) \| 0 \| 0 \| 0 \| ([\d,]+) \| [1-9]\d* \|`)

// TestNothingIsRefused is the short form of make bench-refused: 100,000 new connections a second from a limit of 20,000
// on, in a namespace that is watched and in one that was just made, with the agent as it ships. The limit ends at no more
// than twice what the 300,000 need.
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
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v; not two rows without refusals in\n%s", err, out)
	}
	const need = 300_000
	for _, row := range rows {
		if limit, err := strconv.Atoi(strings.ReplaceAll(row[2], ",", "")); err != nil || limit < need || limit > 2*need {
			t.Errorf("%s: the limit ends at %s (%v), want %d to %d", row[1], row[2], err, need, 2*need)
		}
	}
}
