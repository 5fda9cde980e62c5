package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// persistDefault is where the demo lets ctwarden keep the limit.
const persistDefault = "/etc/sysctl.d/99-zz-ctwarden.conf"

func TestDemoPutsEverythingBack(t *testing.T) {
	testkernel.Require(t)
	demo := buildDemo(t)
	for _, c := range []struct {
		name      string
		interrupt string // the text at which it is interrupted; empty: it is not
		says      []string
	}{
		{"to the end", "", []string{
			"agent.started", "incident.opened", "both keys read back", "step.confirmed", "nf_conntrack_max = ",
			"another burst", "refused or threw out 0", "incident.closed",
		}},
		{"interrupted", "step.applied", []string{"incident.opened", "agent.stopped", "interrupted"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := hostState(t)
			p := launch(t, nil, demo)
			if c.interrupt != "" {
				p.says(t, c.interrupt)
				_ = p.cmd.Process.Signal(syscall.SIGINT) // it may have ended already
			}
			testhost.Eventually(t, "the demo ends", func() bool {
				select {
				case <-p.ended:
					return true
				default:
					return false
				}
			})
			for _, text := range c.says {
				if !strings.Contains(p.output.String(), text) {
					t.Errorf("does not say %q", text)
				}
			}
			if after := hostState(t); after != before {
				t.Errorf("left behind\n%s\nbefore it was\n%s", after, before)
			}
		})
	}
}

func buildDemo(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "build", "-o", bin+"/", "../../testdata/demo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(bin, "demo")
}

// hostState is what the demo may touch: the limits, the namespaces, the persisted file.
func hostState(t *testing.T) string {
	t.Helper()
	limits, err := testkernel.ReadLimits()
	if err != nil {
		t.Fatal(err)
	}
	names, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(persistDefault)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return fmt.Sprintf("%+v\n%s\n%s", limits, names, file)
}
