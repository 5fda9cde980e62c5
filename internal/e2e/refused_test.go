package e2e

import (
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// noneRefused is the agent's row where nothing was refused or thrown out, and the limit raised, which it need not be
// where the traffic never reached the kernel.
var noneRefused = regexp.MustCompile(`(?m)^\| ctwarden \| 0 \| 0 \| 0 \| [\d,]+ \| [1-9]\d* \|`)

// TestNothingIsRefused is the short form of make bench-refused: 100,000 new connections a second from a limit of 20,000
// on, with the agent as it ships.
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
	p := launch(t, nil, bench, "-runs", "1", "-rows", "^ctwarden$", "-program", program)
	select {
	case err = <-p.ended:
	case <-time.After(5 * time.Minute): // others may hold the lock
		t.Fatal("does not end")
	}
	if out := p.output.String(); err != nil || !noneRefused.MatchString(out) {
		t.Errorf("%v; no row without refusals in\n%s", err, out)
	}
}
