package e2e

import (
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// noneRefused is a row of the agent where nothing was refused or thrown out, and the limit raised, which it need not be
// where the traffic never reached the kernel.
var noneRefused = regexp.MustCompile(`(?m)^\| (ctwarden|a namespace that was just made.*) \| 0 \| 0 \| 0 \| [\d,]+ \| [1-9]\d* \|`)

// TestNothingIsRefused is the short form of make bench-refused: 100,000 new connections a second from a limit of 20,000
// on, in a namespace that is watched and in one that was just made, with the agent as it ships.
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
	if out := p.output.String(); err != nil || len(noneRefused.FindAllString(out, -1)) != 2 {
		t.Errorf("%v; not two rows without refusals in\n%s", err, out)
	}
}
