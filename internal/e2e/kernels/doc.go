// Package kernels holds the test of the agent on the kernels of four of Debian's releases, each really booted, in which
// connection tracking is a module that comes late. It has no code of its own.
package kernels
