// Package testvm boots Debian's kernels in machines of their own, emulated by qemu, for tests of what would upset this
// machine or what its kernel does not do.
//
//	kernel := testvm.DebianKernel(t, "trixie")                       // downloaded once, then from the user's cache
//	image := testvm.NewImage(t, testvm.Contents{Kernel: kernel, …})  // programs of this host and of this module, modules, files
//	vm := testvm.Boot(t, image, 512)
//	vm.Run(t, "modprobe nf_conntrack")                               // a shell, over the second serial line
//	disk := vm.Archive(t, "etc", "var")                              // what a disk would keep
//	vm.Off(t)
//	vm = testvm.Boot(t, image.With(t, disk), 512)
//
// A guest has no disk, no network but loopback and one processor. Its init is a shell script that loads no module.
//
// It is test support: no shipped program imports it. A machine ends with its test, also when that is killed.
package testvm
