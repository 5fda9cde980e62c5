// Package e2e holds the tests of the whole: both programs as they are built, on the real kernel, with a real journald,
// a real rsyslogd and the hub's own NATS server. What would upset this machine, its clock set and itself put to sleep, is
// done to an emulated one, in the long form of make torture.
package e2e
