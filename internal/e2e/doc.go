// Package e2e holds the tests of the whole: both programs as they are built, on the real kernel, with a real journald,
// a real rsyslogd and the hub's own NATS server.
package e2e
