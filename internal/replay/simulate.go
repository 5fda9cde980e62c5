package replay

import (
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// ample is more memory than any table takes. Old records do not say how much the host had.
const ample = 1 << 50

// clock is what one limit is played over: a host, and whether its times are since boot. The two kinds cannot be put in
// order, and often tell of the same messages (dmesg and a file).
type clock struct {
	host   string
	uptime bool
}

// simulate plays incidents through the policy, host by host: the limit is one for all namespaces of a host.
func simulate(cfg Config, past []remediate.Past) []Incident {
	incidents := make([]Incident, len(past))
	clocks := map[clock][]*playing{}
	for i, p := range past {
		incidents[i] = incident(p)
		key := clock{remediate.HostLabel(p.Host), incidents[i].Opened.IsZero()}
		clocks[key] = append(clocks[key], &playing{Incident: &incidents[i], opened: p.OpenedAt})
	}
	for _, list := range clocks {
		simulateHost(cfg, list)
	}
	return incidents
}

func incident(p remediate.Past) Incident {
	in := Incident{
		Host: p.Host, NetNS: netnsName(p.NetNS.Inode), Matches: p.Matches, Suppressed: p.Suppressed,
		PerSource: p.PerSource, Steps: []Step{}, Refused: []Refusal{}, Moments: p.Lead,
	}
	in.Opened, in.OpenedUptime = wallOrUptime(p.OpenedAt)
	if p.ClosedAt != nil && !p.OpenedAt.IsZero() {
		in.Closed, in.ClosedUptime = wallOrUptime(*p.ClosedAt)
	}
	return in
}

// simulateHost asks for a decision at each message of one host, in order.
func simulateHost(cfg Config, incidents []*playing) {
	policy := cfg.Policy
	policy.Mode = remediate.ModeRemediate
	limit := cfg.Limit
	var stepTimes []time.Time
	for at, m := range inOrder(incidents) {
		s := situation(policy, limit, at)
		s.Ask.LastStep, s.StepTimes = m.lastStep, stepTimes
		d := remediate.Decide(policy, s)
		wall, uptime := wallOrUptime(at)
		if !d.Do {
			m.refuse(Refusal{At: wall, AtUptime: uptime, Limit: limit, Reason: d.Reason})
			if d.Reason == remediate.ReasonAtCeiling {
				m.skip() // the limit stays there: the answer will be the same
			}
			continue
		}
		m.Steps = append(m.Steps, Step{
			At: wall, AtUptime: uptime, From: d.From, To: d.To, Reason: d.Reason, Assumed: true,
		})
		limit = d.To
		m.lastStep = at
		stepTimes = append(stepTimes, at)
	}
}

// situation is the one at a message if the table was full: as many entries as the limit allows, a refusal just counted,
// the hash sized for the ceiling beforehand.
func situation(p remediate.Policy, limit uint64, at time.Time) remediate.Situation {
	if at.IsZero() {
		at = at.Add(1) // nothing is known of the time, but a reading without one would verify nothing
	}
	return remediate.Situation{
		Now: at,
		Ask: remediate.Ask{
			Reason:  remediate.ReasonFull,
			Reading: remediate.Reading{At: at, Count: limit, Max: limit, CountersOK: true},
			Refused: 1,
		},
		Limits: remediate.Limits{
			Max: limit, OldMax: limit, Buckets: remediate.ChainsLong.PresizedBuckets(max(p.Ceiling, limit)),
			Writable: true, BucketsWritable: true,
		},
		Memory: remediate.Memory{Total: ample, Available: ample, EntryBytes: 1},
	}
}

// refuse notes the first refusal for each reason.
func (in *Incident) refuse(r Refusal) {
	if !slices.ContainsFunc(in.Refused, func(known Refusal) bool { return known.Reason == r.Reason }) {
		in.Refused = append(in.Refused, r)
	}
}
