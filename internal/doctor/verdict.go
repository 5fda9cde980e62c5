package doctor

import "fmt"

// verdict is the first line: what a person wants to know who was just woken up.
func (j *judge) verdict() {
	last := j.last()
	switch {
	case j.has(IDUnreadable):
		j.Verdict = "cannot tell for certain, since a file could not be read; as far as the others say, " + j.answer(last)
	case j.f.Module.Unsure != "":
		j.Verdict = "cannot tell for certain, since what loads nf_conntrack could not be read; if it is loaded early, " + j.answer(last)
	default:
		j.Verdict = j.answer(last)
		if j.f.Table && j.Limit > 0 && (last.max > 0 || last.cause == causeFile) {
			survives := last.max == j.Limit
			j.Survives = &survives
		}
	}
}

func (j *judge) answer(last stage) string {
	switch {
	case last.max == 0 && last.cause == causeFile:
		return "the next reboot brings a limit of 0, which is no limit at all before Linux 6.19: " + last.by
	case last.max == 0:
		return "cannot tell what the limit will be after a reboot: no file sets it, and the kernel's default for this host is not known"
	case !j.f.Table && j.f.Module.State != ModuleAbsent:
		return fmt.Sprintf("the next boot brings a limit of %d: %s", last.max, j.reason(last))
	case !j.f.Table:
		return fmt.Sprintf("there is no table yet; once nf_conntrack is loaded, the limit will be %d: %s", last.max, j.reason(last))
	case last.max != j.Limit:
		verb := "will"
		if last.cause == causeDefault && j.f.Module.late() && j.f.Module.Race != "" {
			verb = "may"
		}
		return fmt.Sprintf("the limit of %d %s be %d after the next reboot: %s", j.Limit, verb, last.max, j.reason(last))
	}
	return fmt.Sprintf("the limit of %d survives a reboot: %s", j.Limit, j.reason(last))
}

// reason says why the last one has the last word.
func (j *judge) reason(last stage) string {
	switch last.cause {
	case causeDefault:
		if own := j.own(); own.Max > 0 && j.f.Module.late() {
			if race := j.f.Module.Race; race != "" {
				return fmt.Sprintf("%s, where %s loads nf_conntrack only after %s is applied: they start at the same time", last.by, race, own.By)
			}
			return fmt.Sprintf("%s, since nothing loads nf_conntrack before %s is applied", last.by, own.By)
		}
		return last.by + ", and nothing sets another"
	case causeTuned:
		return fmt.Sprintf("tuned sets it (%s)", last.by)
	case causeAgent, causeKube:
		return last.by + " sets it"
	}
	systemd, procps := j.AtBoot.Systemd, j.AtBoot.Procps
	switch {
	case systemd.Max == procps.Max && systemd.By == procps.By:
		return last.by + " is last under both loaders"
	case systemd.Max == procps.Max && procps.By != "":
		return fmt.Sprintf("%s is last under systemd-sysctl, and %s, with the same value, under sysctl --system", systemd.By, procps.By)
	case procps.Max == 0:
		return fmt.Sprintf("%s is last under %v", last.by, j.f.loader())
	case !j.f.Systemd:
		return last.by + " is last under sysctl --system, and systemd does not set up this host"
	}
	return fmt.Sprintf("%s is last under systemd-sysctl, but sysctl --system would make it %d (%s)", last.by, procps.Max, procps.By)
}
