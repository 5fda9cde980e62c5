package main

import (
	"fmt"
	"net"
	"net/netip"

	"go.uber.org/zap"
)

// doubts are what is no mistake and will hardly be meant, each with its key in front.
func (s settings) doubts() (all []string) {
	if len(s.Users) > 0 && s.Listen != "" && !onLoopback(s.Listen) {
		all = append(all, fmt.Sprintf("listen: %s is more than this machine, and the page has no TLS: passwords of users cross the network "+
			"for all to read; have it at 127.0.0.1 or [::1], behind a proxy with TLS", s.Listen))
	}
	if s.Listen != "" && (len(s.Users) > 0 || s.TrustedHeader.Name != "") {
		return all
	}
	for i, r := range s.Routes {
		if len(r.Escalate) > 0 {
			all = append(all, fmt.Sprintf("routes[%d].escalate: nobody can acknowledge on the page (users and trusted_header are empty, or "+
				"listen is), and what is acknowledged in PagerDuty, Slack or Alertmanager is not known to the hub: every stage is told "+
				"unless somebody runs ctwarden-hub acknowledge", i))
		}
	}
	return all
}

// onLoopback tells whether an address, host:port, is reached from this machine alone.
func onLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// logDoubts says them in the log.
func (s settings) logDoubts(log *zap.Logger) {
	for _, doubt := range s.doubts() {
		log.Warn("configuration_doubtful", zap.String("about", doubt))
	}
}
