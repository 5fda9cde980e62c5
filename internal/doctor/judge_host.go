package doctor

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// lateLoss tells whether the files ask for a limit that the module comes too late for, so that the next boot has less.
func (j *judge) lateLoss() bool {
	asked := j.own().Max
	return j.f.Module.late() && asked > 0 && j.kept().max < asked
}

// kept is what the files, and the agent for its own, make of the limit, whatever others set afterwards.
func (j *judge) kept() stage {
	out := j.stages[0]
	for _, s := range j.stages {
		if s.cause != causeTuned && s.cause != causeKube {
			out = s
		}
	}
	return out
}

// module tells whether the module is there when the limit is set.
func (j *judge) module() {
	m, own, kept := j.f.Module, j.own(), j.kept()
	if m.Unsure != "" {
		j.Unknown = append(j.Unknown, Unknown{What: "what loads nf_conntrack at boot", Why: m.Unsure})
		return
	}
	if j.lateLoss() {
		what := fmt.Sprintf("nothing loads nf_conntrack before this line is applied, so that the limit will be %d, %s", kept.max, kept.by)
		if m.Race != "" {
			what = fmt.Sprintf("%s may load nf_conntrack before this line is applied, or after it, so that the limit may be %d, %s", m.Race, kept.max, kept.by)
		}
		fix := loadEarly
		if m.Blocked != "" {
			what += fmt.Sprintf("; %s keeps it from being loaded earlier", m.Blocked)
			fix = "remove " + m.Blocked + "\n" + fix
		}
		if m.Replay != "" {
			what += fmt.Sprintf("; the udev rule %s does not cover this line's key", m.Replay)
		}
		j.add(Finding{
			ID: IDModuleLate, Severity: Problem, Where: own.By, What: what,
			Why: "the files are applied once, early, and settings that are not there yet are skipped", Fix: fix,
		})
		return
	}
	if !m.late() || own.Max == 0 {
		return
	}
	switch kept.cause {
	case causeAgent:
		j.note("nothing loads nf_conntrack before the sysctl.d files are applied; ctwarden sets the persisted limit at its start")
	case causeFile:
		j.note("nothing loads nf_conntrack before the sysctl.d files are applied; the udev rule %s has them applied again", m.Replay)
	}
}

// writers looks at those who set the limit on their own account.
func (j *judge) writers() {
	for i, s := range j.stages {
		if i == 0 || s.cause != causeTuned && s.cause != causeKube {
			continue
		}
		before := j.stages[i-1]
		if s.max >= before.max {
			j.note("%s sets the limit to %d at its start, from %d", j.who(s), s.max, before.max)
			continue
		}
		j.lowers(s, before)
	}
	if j.f.Kube != nil && j.f.Kube.Unread != "" {
		j.Unknown = append(j.Unknown, Unknown{What: "kube-proxy's " + j.f.Kube.Unread, Why: "it may not be read; kube-proxy's defaults are supposed"})
	}
	if j.f.Kube != nil && j.f.Cores == 0 {
		j.Unknown = append(j.Unknown, Unknown{What: "the limit that kube-proxy sets", Why: "/proc/stat names no processors"})
	}
	if m := j.f.Module; m.Hash > 0 {
		j.note("hashsize in %s: %d buckets, and a limit of 8 times that until a file sets another", m.HashBy, m.Hash)
	}
	j.scripts()
}

// who is a stage by name.
func (j *judge) who(s stage) string {
	if s.cause == causeTuned {
		return fmt.Sprintf("tuned (%s)", s.by)
	}
	return s.by
}

// lowers tells of tuned or kube-proxy setting less than what was there before.
func (j *judge) lowers(s, before stage) {
	f := Finding{
		Severity: Problem, What: fmt.Sprintf("%s sets the limit to %d at its start, from %d (%s)", j.who(s), s.max, before.max, before.by),
		Where: s.by, Why: "it starts after the sysctl.d files are applied, at each boot and at each restart",
	}
	if s.cause == causeTuned {
		f.ID, f.Fix = IDTuned, fmt.Sprintf("in %s write %s=%d, then: systemctl restart tuned", s.by, apply.KeyMax, before.max)
		j.add(f)
		return
	}
	f.ID = IDKubeProxy
	switch {
	case j.f.Kube.File != "":
		f.Where, f.Fix = j.f.Kube.File, "in its KubeProxyConfiguration write conntrack: {maxPerCore: 0, min: 0}, which leaves the limit alone"
	case j.f.Kube.Name != "kube-proxy":
		f.Fix = "--kube-proxy-arg=conntrack-max-per-core=0"
	default:
		f.Fix = "--conntrack-max-per-core=0, which leaves the limit alone, or conntrack: {maxPerCore: 0} in its configuration"
	}
	j.add(f)
}

// kubeName is kube-proxy as a person finds it.
func (f *Facts) kubeName() string {
	if f.Kube.PID == 0 {
		return f.Kube.Name + " (" + f.Kube.File + ")"
	}
	return fmt.Sprintf("%s (process %d)", f.Kube.Name, f.Kube.PID)
}

var mentioned = regexp.MustCompile(`nf_conntrack_max["']?\s*[= ]\s*["']?(\d+)`)

// scripts tells of what runs at boot and names the limit with another value than the host should have.
func (j *judge) scripts() {
	for _, m := range j.f.Mentions {
		if n := mentioned.FindStringSubmatch(m.Text); n != nil && n[1] == strconv.FormatUint(j.wanted(), 10) {
			continue
		}
		j.add(Finding{
			ID: IDScript, Severity: Advice, Where: fmt.Sprintf("%s:%d", m.File, m.Line), What: "names the limit: " + m.Text,
			Why: "what runs at boot or from time to time may set another value, and no loader knows of it",
			Fix: "remove the line, and set the limit in /etc/sysctl.d",
		})
	}
}

// table tells of a table that is nearly full now.
func (j *judge) table() {
	if !j.f.Table || j.Limit == 0 {
		return
	}
	var worst Fill
	for _, fill := range j.f.Fills {
		if fill.Count > worst.Count {
			worst = fill
		}
	}
	share := float64(worst.Count) / float64(j.Limit)
	if share <= j.f.Policy.Pressure {
		return
	}
	fix := fmt.Sprintf("ctwarden raise --to %d", max(j.Limit*2, 1))
	if j.Limit*2 > j.f.Policy.Ceiling {
		fix = fmt.Sprintf("remediate.ceiling: %d    # in %s, then: ctwarden raise --to %[1]d", j.Limit*2, j.f.File)
	}
	j.add(Finding{
		ID: IDTableHigh, Severity: Advice, What: fmt.Sprintf("the table of %s holds %d of %d entries, %.0f%%", worst.Name, worst.Count, j.Limit, 100*share),
		Why: "once it is full, new connections are refused", Fix: fix,
	})
}

// memory tells whether the ceiling can be paid for, and reached at all.
func (j *judge) memory() {
	f := j.f
	remediates := f.known() && f.Policy.Mode == remediate.ModeRemediate
	if remediates && f.Table && f.Policy.Ceiling < j.Limit {
		j.add(Finding{
			ID: IDCeiling, Severity: Advice, Where: f.File,
			What: fmt.Sprintf("remediate.ceiling is %d, below the limit in force, %d", f.Policy.Ceiling, j.Limit),
			Why:  "no step will ever be taken", Fix: fmt.Sprintf("remediate.ceiling: %d", 2*j.Limit),
		})
	}
	if f.Memory.Total == 0 || f.Memory.EntryBytes == 0 || !f.known() {
		return
	}
	fits := remediate.MemoryBound(f.Policy, f.situation(), f.Policy.Ceiling)
	if fits >= f.Policy.Ceiling {
		return
	}
	what := fmt.Sprintf("the table at remediate.ceiling, %d, would take more than remediate.memory_share, %g of %.1f GiB, or than is available; %d fit",
		f.Policy.Ceiling, f.Policy.MemoryShare, float64(f.Memory.Total)/(1<<30), fits)
	if !remediates {
		j.note("%s", what)
		return
	}
	j.add(Finding{
		ID: IDMemory, Severity: Advice, Where: f.File, What: what, Why: "steps end there, with the reason memory",
		Fix: fmt.Sprintf("remediate.ceiling: %d    # or a larger remediate.memory_share", fits),
	})
}
