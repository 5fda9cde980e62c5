// Package testkernel makes the kernel's connection-tracking table fill up, for tests and the demo.
//
// It is test support: no shipped program imports it. Everything here is real: real namespaces, a real nft ruleset that
// makes the kernel track, real packets, real refusals. Nothing leaves the machine: packets go out of a veth whose other
// end lies, switched off, in a namespace of our own, so that the kernel tracks them and then throws them away.
//
//	lock, err := testkernel.Acquire(ctx)       // one user of the global limit at a time; saves the limits
//	defer lock.Release()                       // puts them back
//	ns, err := testkernel.NewNamespace(ctx)    // a scratch namespace that tracks; or lock.FirstNamespace(ctx)
//	defer ns.Close()
//	result, err := ns.Burst(ctx, 300_000)      // as fast as this machine can
//
// A test has Hold, Scratch and First, which do the same and clean up by themselves; also after a panic. A process that
// is killed cannot clean up: its namespaces are deleted and its limits restored by the next Acquire or NewNamespace,
// from the process id in their names and from the file that Acquire leaves beside the lock.
package testkernel
