package doctor

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

// files looks at the sysctl.d files, whoever wins.
func (j *judge) files() {
	j.badLines()
	j.disagree()
	j.bySysctl()
	j.masked()
}

// badLines tells of lines and files that do not say what they were meant to.
func (j *judge) badLines() {
	for _, p := range j.f.Tree.Problems(j.f.loader()) {
		switch {
		case p.Unread:
			j.add(Finding{
				ID: IDUnreadable, Severity: Unclear, Where: p.File, What: "cannot be read: " + p.Text,
				Why: "it may set the limit, and then the answer is another", Fix: "sudo ctwarden doctor",
			})
		case p.Line > 0 && strings.Contains(p.Text, "nf_conntrack"):
			j.add(Finding{
				ID: IDBadLine, Severity: Problem, Where: fmt.Sprintf("%s:%d", p.File, p.Line), What: p.Text,
				Why: "both loaders pass over it", Fix: fmt.Sprintf("write it as name = value, such as %s = %d", apply.KeyMax, j.example(apply.KeyMax)),
			})
		}
	}
	for _, key := range []string{apply.KeyMax, apply.KeyOldMax, apply.KeyBuckets} {
		for _, s := range j.f.Tree.Writes(j.f.loader(), key) {
			j.badValue(s)
		}
	}
}

// badValue tells of a value that the kernel refuses, or that is none for a limit.
func (j *judge) badValue(s sysctld.Setting) {
	n, ok := s.Number()
	if ok && n > 0 && n <= remediate.MaxLimit || !ok && strings.HasPrefix(s.Value, "-") {
		return
	}
	f := Finding{
		ID: IDBadValue, Severity: Problem, Where: at(s), What: fmt.Sprintf("the kernel refuses %q for %s", s.Value, s.Key),
		Why: "an earlier value stays, or the kernel's default", Fix: fmt.Sprintf("write a plain number: %s = %d", s.Key, j.example(s.Key)),
	}
	if ok && n == 0 {
		f.ID, f.What = IDZero, s.Key+" is set to 0, which is no limit at all before Linux 6.19"
		f.Why = "the table grows until memory runs out"
	}
	f.Fix += j.managed(f.Where)
	j.add(f)
}

// example is a value for a setting that serves this host.
func (j *judge) example(key string) uint64 {
	limit := j.wanted()
	if limit == 0 {
		limit = remediate.DefaultPolicy().Ceiling
	}
	if key == apply.KeyBuckets {
		return j.f.Chains.PresizedBuckets(limit)
	}
	return limit
}

// disagree tells of two names of one variable that are set to different values: the last one written stays, and which one
// that is is not the same for all loaders.
func (j *judge) disagree() {
	l := j.f.loader()
	newer, n, ok := j.f.Tree.Stays(l, remediate.MaxLimit, apply.KeyMax)
	older, m, both := j.f.Tree.Stays(l, remediate.MaxLimit, apply.KeyOldMax)
	if !ok || !both || n == m {
		return
	}
	last, stays, _ := j.f.Tree.Stays(l, remediate.MaxLimit, apply.KeyMax, apply.KeyOldMax)
	other := newer
	if at(last) == at(newer) {
		other = older
	}
	j.add(Finding{
		ID: IDKeysDisagree, Severity: Problem, Where: at(other),
		What: fmt.Sprintf("sets %s to %s, and %s sets %s to %d: they are two names of one variable, and %d stays under %v",
			other.Key, other.Value, at(last), last.Key, stays, stays, l),
		Why: "which one is written last depends on the loader",
		Fix: fmt.Sprintf("write the same value in both: %s = %d", other.Key, max(n, m)) + j.managed(at(other)),
	})
}

// bySysctl tells what "sysctl --system" would do to a host that systemd set up: packages and people run it.
func (j *judge) bySysctl() {
	p := j.AtBoot.Procps
	if !j.f.Systemd || p.Max == 0 || p.Max >= j.wanted() || p.By == j.own().By {
		return
	}
	j.add(Finding{
		ID: IDSysctlSystem, Severity: Problem, Where: p.By,
		What: fmt.Sprintf("sysctl --system would set the limit to %d, from %d", p.Max, j.wanted()),
		Why:  "packages and people run it, and it reads /etc/sysctl.conf last",
		Fix:  j.setLine(p.By, j.wanted()) + j.managed(p.By),
	})
}

// masked tells of a file that sets the limit that the host should have, and is hidden by one of its name.
func (j *judge) masked() {
	for _, key := range []string{apply.KeyMax, apply.KeyOldMax} {
		for _, s := range j.f.Tree.AllHidden(key) {
			n, ok := s.Number()
			ours := s.File == j.f.PersistFile
			if !ok || j.has(IDMasked) || !ours && (n != j.wanted() || j.last().max >= n) {
				continue
			}
			by := j.hides(s.File)
			j.add(Finding{
				ID: IDMasked, Severity: Problem, Where: at(s),
				What: fmt.Sprintf("sets the limit to %d and is not read: %s hides it", n, by),
				Why:  "of one name the file in the higher directory counts, even where it is empty or a link to /dev/null",
				Fix:  "rm " + by + "    # or give " + s.File + " another name",
			})
		}
	}
}

// hides is the file that hides another.
func (j *judge) hides(file string) string {
	for _, f := range j.f.Tree.Files(j.f.loader()) {
		if f.Name() == path.Base(file) && f.Path != file {
			return f.Path
		}
	}
	return "a file of that name in a higher directory"
}

// persisted looks at our own file.
func (j *judge) persisted() {
	err := j.f.PersistErr
	f := Finding{Severity: Problem, Where: j.f.PersistFile, Why: "the agent does not apply it, and does not replace it", Fix: "ctwarden revert"}
	switch {
	case errors.Is(err, apply.ErrDamaged):
		f.ID, f.What = IDDamaged, err.Error()
		f.Why = "the agent does not apply it; the loaders may do so in part"
	case errors.Is(err, apply.ErrOtherMachine):
		f.ID, f.What = IDOtherMachine, err.Error()
		f.Why = "the loaders apply a limit that was found out on another machine; the agent does not"
	case errors.Is(err, apply.ErrNotOurs) && j.persists():
		f.ID, f.What = IDNotOurs, err.Error()
		f.Why = "the agent leaves it alone, so that no step outlasts a reboot"
		f.Fix = fmt.Sprintf("mv %s %s", f.Where, path.Join(path.Dir(f.Where), "50-conntrack.conf"))
	case err == nil && j.persists() && !slices.Contains(sysctld.Dirs(), path.Dir(j.f.PersistFile)):
		f.ID, f.What = IDPersistUnread, fmt.Sprintf("nothing but ctwarden reads %s at boot", path.Dir(j.f.PersistFile))
		f.Where, f.Why = j.f.File, "the limit is low until the agent starts"
		f.Fix = "remediate.persist_file: /etc/sysctl.d/99-zz-ctwarden.conf"
	default:
		j.overridden()
		return
	}
	j.add(f)
}

// persists tells whether the agent is to make limits last.
func (j *judge) persists() bool {
	return j.f.known() && j.f.Policy.Persist && j.f.Policy.Mode == remediate.ModeRemediate
}

// overridden tells of a file that lowers what ours says, also where the limit in force is that lower one.
func (j *judge) overridden() {
	own := j.own()
	last := j.last()
	if !j.persistedOK() || own.Max == 0 || own.Max >= j.f.Persisted.Max || j.f.Table && last.cause == causeFile && last.max < j.Limit {
		return // the last is told as the loss that it is
	}
	j.add(Finding{
		ID: IDOverridden, Severity: Problem, Where: own.By,
		What: fmt.Sprintf("sets the limit to %d after %s, which has %d", own.Max, j.f.Persisted.Path, j.f.Persisted.Max),
		Why:  "a limit that proved necessary is lowered at each boot",
		Fix:  j.setLine(own.By, j.f.Persisted.Max) + j.managed(own.By),
	})
}
