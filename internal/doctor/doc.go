// Package doctor says whether the limit of a host survives its next reboot.
//
// It has two halves. [Read] gathers [Facts] below a root: the sysctl.d files, the module and what loads it, kube-proxy,
// tuned and others who set the limit, the agent's unit, and what the kernel says now. [Judge] is pure: facts in, a
// [Report] out, whose findings each have a stable word, a place and the exact fix.
//
// No program is run and nothing is written. What could not be read is said, and never taken for good.
package doctor
