package notify

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ctwarden/ctwarden/remediate"
)

// The names on the NATS side. They are part of the contract with every consumer.
const (
	// StreamName is the JetStream stream that holds the events.
	StreamName = "CTWARDEN"
	// SubjectPrefix precedes <site>.<host>.<type> in an event's subject.
	SubjectPrefix = "ctwarden.v1.ev"
	// HostsBucket is the key-value bucket with one state per host, under the key <site>.<host>.
	HostsBucket = "CTWARDEN_HOSTS"
	// OperatorInbox is where replies to people's commands come in, so that their permissions need not cover the hosts' inboxes.
	OperatorInbox = "_INBOX.ctwarden-operator"
)

// The bounds of names, so that a subject stays far below the server's limit of 4 KiB.
const (
	maxSiteBytes = 64
	maxHostBytes = 255
)

// HostToken writes a host's name as one token of a subject: letters, digits and "-" stay, every other byte is written
// as "_xx" with its two hex digits, so that no two names share a token.
func HostToken(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return !isPlain(r) }) < 0 {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; isPlain(rune(c)) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

func isPlain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-'
}

// CheckSite tells whether a site's name can be one token of a subject: 1 to 64 letters, digits, "-" or "_".
func CheckSite(site string) error {
	if site == "" {
		return errors.New("site is empty; use 1 to 64 letters, digits, - or _")
	}
	bad := strings.IndexFunc(site, func(r rune) bool { return !isPlain(r) && r != '_' })
	if bad >= 0 || len(site) > maxSiteBytes {
		return fmt.Errorf("site %q cannot be part of a NATS subject; use 1 to 64 letters, digits, - or _", site)
	}
	return nil
}

func checkHost(host string) error {
	if host == "" {
		return errors.New("host name is empty; set host in the configuration")
	}
	if len(host) > maxHostBytes {
		return fmt.Errorf("host name of %d bytes is too long for a NATS subject; at most %d", len(host), maxHostBytes)
	}
	return nil
}

// Subject is where events of one type of one host are published. The type keeps its dot, so it takes two tokens.
func Subject(site, host string, t remediate.EventType) string {
	return SubjectPrefix + "." + site + "." + HostToken(host) + "." + string(t)
}

// HostKey is the key of a host's state in the bucket [HostsBucket].
func HostKey(site, host string) string { return site + "." + HostToken(host) }
