//go:build !failpoint

package main

// failpoint is where a program built for tests kills itself; this one never does.
func failpoint() func(stage string) { return nil }
