package testhost

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Port is a port of 127.0.0.1 that nobody listens on. It is not of the range that the kernel takes the ports of outgoing
// connections from, so that it stays free while a server that is to use it is away.
func Port(t testing.TB) int {
	t.Helper()
	const first, last, tries = 10000, 30000, 100
	for range tries {
		port := first + rand.IntN(last-first)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatalf("no free port in %d tries", tries)
	return 0
}
