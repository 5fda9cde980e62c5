package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// fleetHost is what the fleet's status shows of a host: some 200 bytes, of which a hundred thousand fit into memory where
// their whole states would not.
type fleetHost struct {
	Site string `json:"site"`
	Host string `json:"host"`
	// Count is of its fullest namespace, Fill the share of the limit that it has.
	Count uint64  `json:"count"`
	Max   uint64  `json:"max"`
	Fill  float64 `json:"fill"`
	// TimeToFull is in seconds; nil: the table does not grow.
	TimeToFull *float64       `json:"time_to_full_s,omitempty"`
	Mode       remediate.Mode `json:"mode"`
	// Incidents are open, Severity is that of the worst, and Refused and ThrownOut are those of all.
	Incidents int                `json:"incidents"`
	Severity  remediate.Severity `json:"severity,omitempty"`
	Refused   uint64             `json:"refused"`
	ThrownOut uint64             `json:"thrown_out"`
	// Held is true where automatic writes are held, HeldByFleet where the fleet holds them.
	Held        bool `json:"held,omitempty"`
	HeldByFleet bool `json:"held_by_fleet,omitempty"`
	// Rev is the revision of the fleet's orders that it has heard.
	Rev     uint64    `json:"rev,omitempty"`
	Version string    `json:"version"`
	At      time.Time `json:"at"` // when the server got the state
}

// fleetSummary counts the hosts.
type fleetSummary struct {
	Hosts     int `json:"hosts"`
	Critical  int `json:"critical"`
	Warning   int `json:"warning"`
	Held      int `json:"held"`
	Remediate int `json:"remediate"`
	// Unread are states that were not understood.
	Unread int `json:"unread,omitempty"`
}

// sharedState is the part of agent.Status that is read of each host.
type sharedState struct {
	Host    string             `json:"host"`
	Site    string             `json:"site"`
	Version string             `json:"version"`
	Mode    remediate.Mode     `json:"mode"`
	Held    *struct{}          `json:"held"`
	Fleet   *notify.FleetState `json:"fleet"`
	Limits  remediate.Limits   `json:"limits"`
	NetNS   []struct {
		Count      uint64   `json:"count"`
		TimeToFull *float64 `json:"time_to_full_s"`
	} `json:"netns"`
	Incidents []struct {
		Severity   remediate.Severity `json:"severity"`
		Drops      uint64             `json:"drops"`
		ChainDrops uint64             `json:"chain_drops"`
		EarlyDrops uint64             `json:"early_drops"`
	} `json:"incidents"`
}

// fleetHosts reads the states one after the other and keeps a row of each, the fullest first.
func fleetHosts(ctx context.Context, dial notify.Dial, site string) ([]fleetHost, fleetSummary, error) {
	rows := map[string]*fleetHost{}
	words := map[string]string{} // versions and modes, of which there are few
	unread := 0
	err := notify.Hosts(ctx, dial, site, func(h notify.HostState) error {
		var s sharedState
		if err := json.Unmarshal(h.Body, &s); err != nil || s.Host == "" {
			unread++
			return nil
		}
		row := s.row(h.At)
		row.Version, row.Mode, row.Site = word(words, row.Version), remediate.Mode(word(words, string(row.Mode))), word(words, row.Site)
		rows[row.Site+"."+row.Host] = &row
		return nil
	})
	list := make([]fleetHost, 0, len(rows))
	for _, row := range rows {
		list = append(list, *row)
	}
	slices.SortFunc(list, func(x, y fleetHost) int {
		return cmp.Or(cmp.Compare(y.Fill, x.Fill), cmp.Compare(x.Site, y.Site), cmp.Compare(x.Host, y.Host))
	})
	sum := summary(list)
	sum.Unread = unread
	return list, sum, err
}

// word is one copy of a string that many have.
func word(words map[string]string, s string) string {
	if known, ok := words[s]; ok {
		return known
	}
	words[s] = s
	return s
}

// row is what is shown of a state.
func (s *sharedState) row(at time.Time) fleetHost {
	row := fleetHost{
		Site: s.Site, Host: s.Host, Max: s.Limits.Max, Mode: s.Mode, Incidents: len(s.Incidents), Held: s.Held != nil,
		Version: s.Version, At: at,
	}
	for i, ns := range s.NetNS {
		if i == 0 || ns.Count > row.Count {
			row.Count, row.TimeToFull = ns.Count, ns.TimeToFull
		}
	}
	row.Fill = ratio(row.Count, row.Max)
	for _, in := range s.Incidents {
		row.Refused, row.ThrownOut = row.Refused+in.Drops+in.ChainDrops, row.ThrownOut+in.EarlyDrops
		if row.Severity != remediate.SeverityCritical {
			row.Severity = in.Severity
		}
	}
	if f := s.Fleet; f != nil {
		row.Rev, row.HeldByFleet = f.Rev, f.Hold != nil
		row.Held = row.Held || row.HeldByFleet
	}
	return row
}

func summary(list []fleetHost) fleetSummary {
	sum := fleetSummary{Hosts: len(list)}
	for _, row := range list {
		switch row.Severity {
		case remediate.SeverityCritical:
			sum.Critical++
		case remediate.SeverityWarning:
			sum.Warning++
		}
		if row.Held {
			sum.Held++
		}
		if row.Mode == remediate.ModeRemediate {
			sum.Remediate++
		}
	}
	return sum
}
