package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

// judge is a report in the making.
type judge struct {
	Report
	f      *Facts
	stages []stage
}

// Judge says what the next boot brings, and what is wrong. It is a pure function.
func Judge(f Facts) Report {
	j := &judge{f: &f, Report: Report{Findings: []Finding{}, Notes: []string{}, Unknown: []Unknown{}}}
	j.Unknown = append(j.Unknown, f.Unknown...)
	j.Limit, j.Buckets = f.Limits.Max, f.Limits.Buckets
	if f.Inside {
		j.inside()
		return j.Report
	}
	j.stages = f.stages()
	last := j.last()
	j.AtBoot = AtBoot{
		Max: last.max, By: last.by, Systemd: f.outcome(f.SystemdSysctl), Procps: f.outcome(f.Procps),
	}
	j.AtBoot.Buckets, j.AtBoot.BucketsBy = f.bootBuckets(last)
	j.Module = ModuleReport{State: f.Module.State, By: f.Module.Early, Hash: f.Module.Hash, HashBy: f.Module.HashBy}
	if early := !f.Module.late(); f.Module.Unsure == "" {
		j.Module.Early = &early
	}
	j.files()
	j.persisted()
	j.boot()
	j.module()
	j.writers()
	j.hash()
	j.memory()
	j.agent()
	j.table()
	j.verdict()
	slices.SortStableFunc(j.Findings, func(a, b Finding) int { return a.Severity.rank() - b.Severity.rank() })
	return j.Report
}

// rank puts what is worst first.
func (s Severity) rank() int { return slices.Index([]Severity{Problem, Unclear, Advice}, s) }

func (j *judge) note(format string, args ...any) {
	j.Notes = append(j.Notes, fmt.Sprintf(format, args...))
}

// last is who sets the limit last at the next boot.
func (j *judge) last() stage { return j.stages[len(j.stages)-1] }

// wanted is the limit that the host should have: the one in force, or, before there is a table, the one that the files ask
// for.
func (j *judge) wanted() uint64 {
	if j.f.Table {
		return j.Limit
	}
	return j.own().Max
}

// own is the outcome under the program that applies the files at boot.
func (j *judge) own() Outcome {
	if j.f.Systemd {
		return j.AtBoot.Systemd
	}
	return j.AtBoot.Procps
}

// inside is all there is to say in a container.
func (j *judge) inside() {
	f := Finding{
		ID: IDInside, Severity: Advice,
		What: fmt.Sprintf("this is a network namespace of its own, as in a container; the limit of %d is the host's, and cannot be set from here", j.Limit),
		Why:  "nothing in here decides what the limit is after a reboot",
		Fix:  "ctwarden doctor    # on the host",
	}
	if j.f.known() && j.f.Policy.Mode == remediate.ModeRemediate {
		f.Severity = Problem
		f.What += "; mode: remediate is of no use"
		f.Fix = "run ctwarden on the host, or set mode: observe in " + j.f.File
	}
	j.add(f)
	j.Verdict = fmt.Sprintf("the limit of %d is the host's: nothing in this container decides what it is after a reboot", j.Limit)
	j.Module = ModuleReport{State: j.f.Module.State}
	j.AtBoot.Systemd.Keys, j.AtBoot.Procps.Keys = map[string]Line{}, map[string]Line{}
}

// boot compares the limit in force with what the next boot brings. What tuned, kube-proxy and a late module do is told by
// their own judgement.
func (j *judge) boot() {
	last := j.last()
	if !j.f.Table || last.max == 0 {
		return
	}
	switch {
	case j.Limit == 0:
		j.add(Finding{
			ID: IDZero, Severity: Problem, What: "the limit in force is 0, which is no limit at all before Linux 6.19",
			Why: "the table grows until memory runs out", Fix: fmt.Sprintf("sysctl -w %s=%d", apply.KeyMax, last.max),
		})
	case last.max < j.Limit && (last.cause == causeFile || last.cause == causeDefault || last.cause == causeAgent) && !j.lateLoss():
		j.lost(last)
	case last.max > j.Limit && last.cause != causeKube:
		j.add(Finding{
			ID: IDBootHigher, Severity: Advice, Where: last.by,
			What: fmt.Sprintf("the limit in force is %d; the next boot brings %d", j.Limit, last.max),
			Why:  "what the host is to have is not in force yet, or somebody lowered it since",
			Fix:  fmt.Sprintf("sysctl -w %s=%d", apply.KeyMax, last.max),
		})
	}
}

// lost tells of a limit in force that the next boot does not have.
func (j *judge) lost(last stage) {
	f := Finding{
		ID: IDNotPersistent, Severity: Problem, Where: last.by,
		What: fmt.Sprintf("the limit in force, %d, is lost at the next boot: it will be %d", j.Limit, last.max),
		Why:  "the host then refuses connections that it takes now", Fix: j.setLine(last.by, j.Limit),
	}
	p := j.f.Persisted
	switch main, ok := j.onlyMain(); {
	case last.cause == causeFile && strings.HasPrefix(last.by, p.Path+":") && p.Path != "":
		f.What += ", the one that ctwarden persisted last"
		f.Fix = j.writeFile(j.Limit)
	case last.cause == causeFile && j.persistedOK() && last.max < p.Max:
		f.ID = IDOverridden
		f.What += fmt.Sprintf(", since this line comes after %s, which has %d", p.Path, p.Max)
	case last.cause == causeDefault && ok:
		f.Where = at(main)
		f.What += "; " + sysctld.MainFile + " sets it, which systemd-sysctl does not read without a link in /etc/sysctl.d"
		f.Fix = "ln -s ../sysctl.conf /etc/sysctl.d/99-sysctl.conf"
	case last.cause == causeDefault:
		f.Where = ""
		f.What += ", " + last.by + "; no file sets it"
	}
	if last.cause == causeDefault && j.f.Module.late() {
		f.Fix += "\n" + loadEarly
	}
	f.Fix += j.managed(last.by)
	j.add(f)
}

// loadEarly has the module loaded before the sysctl.d files are applied.
const loadEarly = "echo nf_conntrack > /etc/modules-load.d/nf_conntrack.conf"

// onlyMain is the line of /etc/sysctl.conf that has the last word under procps and that systemd never sees.
func (j *judge) onlyMain() (sysctld.Setting, bool) {
	if !j.f.Systemd || j.own().Max != 0 {
		return sysctld.Setting{}, false
	}
	s, n, ok := j.f.Tree.Stays(j.f.Procps, remediate.MaxLimit, apply.KeyMax, apply.KeyOldMax)
	return s, ok && s.File == sysctld.MainFile && n == j.Limit
}

// setLine is how to set the limit where another line has the last word: there, or in a file that comes after all others.
func (j *judge) setLine(by string, limit uint64) string {
	if file, line, ok := strings.Cut(by, ":"); ok && strings.HasPrefix(file, "/") {
		return fmt.Sprintf("in %s, line %s, write %s", file, line, j.assignment(file, line, limit))
	}
	return j.writeFile(limit)
}

// assignment is the line as it should be, under the name that it has.
func (j *judge) assignment(file, line string, limit uint64) string {
	for _, key := range []string{apply.KeyMax, apply.KeyOldMax} {
		for _, s := range j.f.Tree.All(key) {
			if s.File == file && fmt.Sprint(s.Line) == line && s.Glob == "" {
				return fmt.Sprintf("%s = %d", key, limit)
			}
		}
	}
	return fmt.Sprintf("%s = %d", apply.KeyMax, limit)
}

// writeFile is a command that makes the limit last. The file comes after ctwarden's own.
func (j *judge) writeFile(limit uint64) string {
	return fmt.Sprintf("printf '%%s\\n' '%s = %d' '%s = %[2]d' > /etc/sysctl.d/99-zzz-conntrack.conf", apply.KeyMax, limit, apply.KeyOldMax)
}

// managed warns of a file that a configuration tool writes again.
func (j *judge) managed(by string) string {
	file, _, _ := strings.Cut(by, ":")
	if tool := j.f.Managed[file]; tool != "" {
		return fmt.Sprintf("\n# %s says that %s manages it: change it there, or it comes back", file, tool)
	}
	return ""
}

// persistedOK tells whether there is a file of ours that counts.
func (j *judge) persistedOK() bool { return j.f.HasPersisted && j.f.PersistErr == nil }
