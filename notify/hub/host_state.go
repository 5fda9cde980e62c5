package hub

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// hostState is the part of a host's state that is kept for every host.
type hostState struct {
	Site, Host, Version string
	At                  time.Time
	// heard is when the state came in, by this hub's clock.
	heard time.Time
	Mode  remediate.Mode
	// Count and Max are the fullest namespace's.
	Count, Max uint64
	// Drops and EarlyDrops are all namespaces' since the kernel's boot, or the namespace's.
	Drops, EarlyDrops uint64
	// Held is the host's own hold.
	Held bool
	// Incidents are the ids of its open incidents, all of them where Listed is true. They are not kept with the row.
	Incidents []string
	Listed    bool
	// Fleet is what the host heard of the hub; Known is false where its agent says nothing of that.
	Fleet fleetState
}

// fleetState is notify.FleetState without what takes memory.
type fleetState struct {
	Known, Awaits, Hold bool
	Rev                 uint64
	HoldUntil           time.Time
	Mode                remediate.Mode
}

func (s hostState) refused() uint64 { return s.Drops + s.EarlyDrops }

// fill is how full the table is, 0 to 1.
func (s hostState) fill() float64 {
	if s.Max == 0 {
		return 0
	}
	return float64(s.Count) / float64(s.Max)
}

// stateDocument is what is read of internal/agent.Status. The decoder passes over the rest.
type stateDocument struct {
	Running bool            `json:"running"`
	Version string          `json:"version"`
	Host    string          `json:"host"`
	Site    string          `json:"site"`
	Mode    remediate.Mode  `json:"mode"`
	At      time.Time       `json:"at"`
	Held    *remediate.Hold `json:"held"`
	Limits  struct {
		Max uint64 `json:"nf_conntrack_max"`
	} `json:"limits"`
	NetNSTotal int `json:"netns_total"`
	NetNS      []struct {
		Count    uint64 `json:"count"`
		Counters struct {
			Drop      uint64 `json:"drop"`
			EarlyDrop uint64 `json:"early_drop"`
		} `json:"counters"`
	} `json:"netns"`
	Incidents []struct {
		ID string `json:"incident_id"`
	} `json:"incidents"`
	Fleet *notify.FleetState `json:"fleet"`
}

// mostListed is from how many incidents on a host's list may have been cut (internal/agent, sharedIncidents).
const mostListed = 100

// readHostState reads a host's state. The key is what the server's permissions vouch for, so a state in another host's name
// is refused.
func readHostState(key string, body []byte) (hostState, error) {
	var d stateDocument
	if err := json.Unmarshal(body, &d); err != nil {
		return hostState{}, fmt.Errorf("read the state %s: %w", key, err)
	}
	if d.Host == "" || d.Site == "" || notify.HostKey(d.Site, d.Host) != key {
		return hostState{}, fmt.Errorf("read the state %s: it is that of %q at %q", key, d.Host, d.Site)
	}
	s := hostState{Site: d.Site, Host: d.Host, Version: d.Version, At: d.At, Mode: word(d.Mode), Max: d.Limits.Max, Held: d.Held != nil}
	for i, ns := range d.NetNS {
		s.Count = max(s.Count, ns.Count)
		if i > 0 && d.NetNSTotal > len(d.NetNS) {
			continue // which namespaces are listed changes, so only the first's counters can be compared from state to state
		}
		s.Drops += ns.Counters.Drop
		s.EarlyDrops += ns.Counters.EarlyDrop
	}
	for _, i := range d.Incidents[:min(len(d.Incidents), mostListed)] {
		s.Incidents = append(s.Incidents, i.ID)
	}
	// A state without the list, or of a command that no agent answered, says nothing of what is over, nor does a list
	// without names.
	s.Listed = d.Running && d.Incidents != nil && len(d.Incidents) < mostListed && !slices.Contains(s.Incidents, "")
	if f := d.Fleet; f != nil {
		s.Fleet = fleetState{Known: true, Awaits: f.Awaits, Hold: f.Hold != nil, Rev: f.Rev, Mode: word(f.Mode)}
		if f.Hold != nil {
			s.Fleet.HoldUntil = f.Hold.Until
		}
	}
	return s, nil
}

// word is the mode without the document behind it.
func word(m remediate.Mode) remediate.Mode {
	for _, known := range []remediate.Mode{remediate.ModeObserve, remediate.ModeRemediate} {
		if m == known {
			return known
		}
	}
	return ""
}
