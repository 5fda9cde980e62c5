package testhost

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// natsServer is built once by each test program.
var natsServer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ctwarden-nats-server-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", file, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the NATS server: %w: %s", err, out)
	}
	return file, nil
})

// NATSServer is the program of the NATS server, of the version in go.mod: a server that is a process of its own can be
// killed.
func NATSServer(t testing.TB) string {
	t.Helper()
	file, err := natsServer()
	if err != nil {
		t.Fatal(err)
	}
	return file
}
