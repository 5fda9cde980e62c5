// Command ctwarden-hub reads the events of a fleet of ctwarden agents from NATS and shows them.
//
// It holds flags, configuration and wiring only; what a hub does is in notify/hub.
package main
