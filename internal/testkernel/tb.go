package testkernel

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// TB is what the helpers below need of a *testing.T. It is here so that a plain program need not link package testing.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// RequireEnv is the variable that turns a skipped test on the kernel into a failed one.
const RequireEnv = "CTWARDEN_TEST_REQUIRE"

// lockWait is how long a test waits for the others that need the first namespace's limit.
const lockWait = 5 * time.Minute

// Available returns nil where this package can work, else what is missing.
func Available() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root: it makes network namespaces and nft rules")
	}
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("needs %s (packages iproute2, nftables): %w", program, err)
		}
	}
	if _, err := os.Stat(maxPath); err == nil {
		return nil
	}
	if err := run(context.Background(), "", "modprobe", "nf_conntrack"); err != nil {
		return fmt.Errorf("needs the module nf_conntrack: %w", err)
	}
	return nil
}

// Require skips the test where this package cannot work; it fails it where RequireEnv is set.
func Require(t TB) {
	t.Helper()
	err := Available()
	switch {
	case err == nil:
	case os.Getenv(RequireEnv) != "":
		t.Fatalf("%v (%s is set)", err, RequireEnv)
	default:
		t.Skipf("%v", err)
	}
}

// Hold takes the lock on the first namespace's limit for the rest of the test.
func Hold(t TB) *Lock {
	t.Helper()
	Require(t)
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	lock, err := Acquire(ctx)
	if err != nil {
		t.Fatalf("take the lock: %v", err)
	}
	t.Cleanup(func() {
		if err := lock.Release(); err != nil {
			t.Errorf("give the lock back: %v", err)
		}
	})
	return lock
}

// First takes the lock and makes the first namespace track for the rest of the test.
func First(t TB) (*Lock, *Namespace) {
	t.Helper()
	lock := Hold(t)
	ns, err := lock.FirstNamespace(context.Background())
	if err != nil {
		t.Fatalf("set up the first namespace: %v", err)
	}
	return lock, ns
}

// Scratch makes a namespace that tracks for the rest of the test. A test that needs a certain limit also holds the
// lock: another one may have lowered the limit, which is one for all namespaces.
func Scratch(t TB) *Namespace {
	t.Helper()
	Require(t)
	ns, err := NewNamespace(context.Background())
	if err != nil {
		t.Fatalf("set up a namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Errorf("remove the namespace: %v", err)
		}
	})
	return ns
}
