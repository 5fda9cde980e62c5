// Package installed holds the tests of the built packages where they are meant to be: installed by dpkg or rpm on a
// Debian whose first process is systemd, and started on the oldest and the newest Debian that they are for.
//
// make e2e builds the packages, and older ones of the same tree to upgrade from, and names the two directories in
// CTWARDEN_PACKAGES and CTWARDEN_PACKAGES_OLD. Without them every test here is skipped.
//
// A [root] is a cached debootstrap of a suite under a layer of the test's own; it is mounted in a mount namespace that
// ends with the test, so that nothing is left mounted. A [machine] is a root that systemd-nspawn has booted. It shares
// the kernel and its log with this host; its network namespace is one that the test fills, where the limit is read-only,
// or this host's own, where it is writable.
package installed
