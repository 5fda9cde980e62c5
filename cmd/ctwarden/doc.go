// Command ctwarden keeps a Linux host from refusing connections because its connection-tracking table is full.
//
// "ctwarden run" is the agent; the other commands are the operator's. This package holds the flags, the configuration
// file and the wiring; what the commands do is in the packages that they call. Nothing here starts a goroutine of its
// own or keeps state: main calls run, run builds the tree of commands, and only main exits.
//
// Exit codes: 0 done, 1 findings or refused (the reason is named), 2 wrong usage or configuration, 3 not permitted or
// not available here.
package main
