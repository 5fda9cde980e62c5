package notify

import (
	"os/exec"
	"strings"
	"testing"
)

// The agent links this package and the state; the NATS server stays with the hub.
func TestNoServerInTheAgent(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".", "../internal/state").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, dep := range strings.Fields(string(out)) {
		if strings.Contains(dep, "nats-server") || strings.HasSuffix(dep, "notify/hub") {
			t.Errorf("%s is linked", dep)
		}
	}
}
