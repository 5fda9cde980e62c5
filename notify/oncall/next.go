package oncall

import (
	"fmt"
	"regexp"

	"github.com/ctwarden/ctwarden/remediate"
)

// Situation is what [NextFor] goes by.
type Situation struct {
	Cause string
	// Host is the one to look at first; Max is its limit, 0 where it is not known.
	Host string
	Max  uint64
	// Refused is why ctwarden last took no step; empty: nothing kept it from one.
	Refused remediate.Reason
	// Ineffective is true where a step did not help.
	Ineffective bool
	// Over is true where the trouble has ended.
	Over bool
}

// NextFor are the commands to run next, the first first. Each can be run as it stands.
func NextFor(s Situation) []string {
	on := func(command string) string {
		if !plainHost(s.Host) {
			return command
		}
		return "ssh " + s.Host + " " + command
	}
	switch {
	case s.Cause == CauseSilent && plainHost(s.Host):
		return []string{on("systemctl status ctwarden"), "ping -c 3 " + s.Host}
	case s.Cause == CauseSilent:
		return []string{"ctwarden status --fleet"}
	case s.Cause == CauseBudget:
		return []string{"ctwarden status --fleet", "ctwarden-hub unhold --budget"}
	}
	next := []string{on("sudo ctwarden status")}
	if s.Over {
		return append(next, on("sudo ctwarden doctor"))
	}
	return append(next, remedies(s, on)...)
}

// plainHost tells a name that a shell takes as one word and ssh as no option.
func plainHost(host string) bool {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`).MatchString(host)
}

// remedies are what to do about what kept ctwarden from helping.
func remedies(s Situation, on func(string) string) []string {
	sources := on("sudo conntrack -L | grep -oE '^[^=]*src=[^ ]+' | grep -oE '[^=]+$' | sort | uniq -c | sort -rn | head -5")
	raise := on(fmt.Sprintf("sudo ctwarden raise --to %d", 2*s.Max))
	switch {
	case s.Cause == CauseChains:
		return []string{on("sudo sysctl net.netfilter.nf_conntrack_buckets")}
	case s.Ineffective || s.Refused == remediate.ReasonFlood:
		return []string{sources}
	}
	switch s.Refused {
	case remediate.ReasonObserveMode:
		if s.Max > 0 {
			return []string{raise, sources}
		}
	case remediate.ReasonHeld:
		return []string{on("sudo ctwarden unhold"), sources}
	case remediate.ReasonAtCeiling, remediate.ReasonMemory, remediate.ReasonChainLimit:
		return []string{on("free -m"), on("grep -n -A3 ceiling /etc/ctwarden/ctwarden.yaml"), sources}
	case remediate.ReasonForeignChange:
		return []string{on("sudo ctwarden doctor"), sources}
	}
	return []string{sources}
}
