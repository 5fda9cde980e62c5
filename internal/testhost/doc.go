// Package testhost starts the real daemons that write a host's kernel log, for tests: a systemd-journald in a mount
// namespace of its own, and an rsyslogd with a configuration of its own. Both read this machine's kernel. It also runs
// the real programs that apply sysctl.d files, on scratch roots, builds the NATS server, and has what such tests need
// besides: skipping, waiting, and running as an ordinary user.
//
// It is test support: no shipped program imports it. Every daemon ends with its test, also when that is killed.
package testhost
