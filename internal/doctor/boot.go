package doctor

import (
	"fmt"
	"strings"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

// cause is what sort of thing sets the limit.
type cause int

const (
	causeDefault cause = iota // the kernel, at the module's loading
	causeFile                 // a line of a sysctl.d file
	causeTuned
	causeAgent
	causeKube
)

// stage is one of those who set the limit in the course of a boot.
type stage struct {
	cause cause
	max   uint64 // entries; 0: it cannot be told
	by    string
}

// at is a setting's place.
func at(s sysctld.Setting) string { return fmt.Sprintf("%s:%d", s.File, s.Line) }

// outcome is what a loader makes of the files.
func (f *Facts) outcome(l sysctld.Loader) Outcome {
	out := Outcome{Keys: map[string]Line{}}
	if s, n, ok := f.Tree.Stays(l, remediate.MaxLimit, apply.KeyMax, apply.KeyOldMax); ok {
		out.Max, out.By = n, at(s)
	}
	if s, n, ok := f.Tree.Stays(l, remediate.MaxLimit, apply.KeyBuckets); ok {
		out.Buckets, out.BucketsBy = n, at(s)
	}
	for _, key := range []string{apply.KeyMax, apply.KeyOldMax, apply.KeyBuckets} {
		if s, ok := f.Tree.Winner(key, l); ok {
			out.Keys[key] = Line{Value: s.Value, By: at(s)}
		}
	}
	return out
}

// loader is the program that applies the files at boot.
func (f *Facts) loader() sysctld.Loader {
	if f.Systemd {
		return f.SystemdSysctl
	}
	return f.Procps
}

// defaults is what the kernel sets when the module is loaded, by its own rule; 0: it cannot be told.
func (f *Facts) defaults() (limit, buckets uint64, by string) {
	const gib = 1 << 30
	factor := uint64(1)
	memory := f.Memory.Total
	switch {
	case f.Module.Hash > 0:
		buckets, factor = f.Module.Hash, 8
		by = fmt.Sprintf("8 times the hashsize in %s", f.Module.HashBy)
	case memory == 0:
		return 0, 0, "the kernel's default"
	case f.Chains.Limited(): // 5.15 and later
		buckets = max(memory/16384/8, 1024)
		if memory > 4*gib {
			buckets = 262144
		} else if memory > gib {
			buckets = 65536
		}
	default:
		factor = 4
		buckets = max(memory/16384/8, 32)
		if memory > 4*gib {
			buckets = 65536
		} else if memory > gib {
			buckets = 16384
		}
	}
	if by == "" {
		by = fmt.Sprintf("the kernel's default for %.1f GiB of memory", float64(memory)/gib)
	}
	buckets = (buckets + 511) / 512 * 512
	return factor * buckets, buckets, by
}

// stages are those who set the limit at the next boot, in their order. The last one's stays.
func (f *Facts) stages() []stage {
	limit, _, by := f.defaults()
	out := []stage{{causeDefault, limit, by}}
	if f.Module.Param > 0 {
		out = append(out, stage{causeDefault, f.Module.Param, f.Module.ParamBy})
	}
	if s, ok := f.applied(); ok {
		out = append(out, s)
	}
	if s, ok := f.tuned(); ok {
		out = append(out, s)
	}
	if s, ok := f.agent(out[len(out)-1].max); ok {
		out = append(out, s)
	}
	if f.Kube != nil && f.Kube.Limit(f.Cores) > 0 && f.Cores > 0 {
		out = append(out, stage{causeKube, f.Kube.Limit(f.Cores), f.kubeName()})
	}
	return out
}

// applied is the sysctl.d files, where their limit meets a table: the module is there in time, or a udev rule has them
// applied again once it is loaded.
func (f *Facts) applied() (stage, bool) {
	keys := []string{apply.KeyMax, apply.KeyOldMax}
	if f.Module.late() {
		keys = f.replayed(keys)
	}
	s, n, ok := f.Tree.Stays(f.loader(), remediate.MaxLimit, keys...)
	return stage{causeFile, n, at(s)}, ok
}

// replayed are those of the keys that the udev rule has applied.
func (f *Facts) replayed(keys []string) (out []string) {
	for _, key := range keys {
		for _, prefix := range f.Module.Prefixes {
			path := strings.ReplaceAll(key, ".", "/") + "/"
			if strings.HasPrefix(path, strings.Trim(prefix, "/")+"/") {
				out = append(out, key)
				break
			}
		}
	}
	return out
}

// tuned is the limit of tuned's profile, or the one that it applies after its own.
func (f *Facts) tuned() (stage, bool) {
	if f.Tuned == nil || !f.Tuned.Running {
		return stage{}, false
	}
	own := stage{cause: causeTuned}
	for _, s := range f.Tuned.Lines {
		if n, ok := s.Number(); ok && s.Key != apply.KeyBuckets && n <= remediate.MaxLimit {
			own.max, own.by = n, at(s)
		}
	}
	if own.max == 0 || !f.Tuned.Reapplies {
		return own, own.max > 0
	}
	applies := f.Tree.Only(func(path string) bool {
		return strings.HasPrefix(path, "/etc/") || strings.HasPrefix(path, "/run/")
	})
	if s, n, ok := applies.Stays(f.Procps, remediate.MaxLimit, apply.KeyMax, apply.KeyOldMax); ok {
		return stage{causeFile, n, at(s)}, true
	}
	return own, true
}

// agent is the persisted limit as the agent applies it at its start, through its own guards, above a lower one.
func (f *Facts) agent(below uint64) (stage, bool) {
	if !f.agentWrites() || !f.HasPersisted || f.PersistErr != nil || f.Persisted.Max <= below {
		return stage{}, false
	}
	s := f.situation()
	s.Ask = remediate.Ask{Reason: remediate.ReasonBoot, To: f.Persisted.Max}
	s.Limits.Max, s.Limits.Writable, s.Limits.BucketsWritable, s.Entries = below, true, true, 0
	d := remediate.Decide(f.Policy, s)
	return stage{causeAgent, d.To, "ctwarden at its start, from " + f.Persisted.Path}, d.Do
}

// agentWrites tells whether the agent will run after a boot and may write the limit.
func (f *Facts) agentWrites() bool {
	u := f.Unit
	return f.known() && f.Policy.Mode == remediate.ModeRemediate && !f.awaits() && u.Enabled && u.Masked == "" && u.Lacks == "" && f.Systemd &&
		!f.Hold.Active(f.Now) && f.HoldUnread == ""
}

// situation is the host as the core takes it.
func (f *Facts) situation() remediate.Situation {
	s := remediate.Situation{
		Now: f.Now, Limits: f.Limits, Memory: f.Memory, Chains: f.Chains, Held: f.Hold,
	}
	for _, fill := range f.Fills {
		s.Entries += fill.Count
		if !fill.Init {
			s.OtherPeaks = append(s.OtherPeaks, fill.Count)
		}
	}
	return s
}

// Without is what the next boot would bring without the agent and its file: the limit in entries, who sets it, and the size
// of the hash. 0: it cannot be told. The module counts as loaded in time, as it is once a limit was persisted, so that other
// files have their say.
func (f Facts) Without() (limit uint64, by string, buckets uint64) {
	f.Tree, f.HasPersisted, f.Module.Early = f.Tree.Without(f.PersistFile), false, "/etc/modules-load.d/ctwarden.conf"
	all := f.stages()
	last := all[len(all)-1]
	buckets, _ = f.foundBuckets()
	return last.max, last.by, buckets
}

// bootBuckets is the size of the hash after the next boot, and who sets it; 0: it cannot be told.
func (f *Facts) bootBuckets(last stage) (n uint64, by string) {
	n, by = f.foundBuckets()
	larger := func(other uint64, who string) {
		if other > n {
			n, by = other, who
		}
	}
	if f.agentWrites() && f.Policy.Buckets == remediate.BucketsPresize {
		larger(f.Chains.PresizedBuckets(f.Policy.Ceiling), "ctwarden at its start")
	}
	if last.cause == causeKube {
		larger(last.max/4, last.by) // it sizes the hash for a quarter of its limit
	}
	return n, by
}

// foundBuckets is the size of the hash once the sysctl.d files were applied.
func (f *Facts) foundBuckets() (n uint64, by string) {
	_, n, _ = f.defaults()
	by = "the kernel's default"
	if f.Module.Hash > 0 {
		by = f.Module.HashBy
	}
	keys := []string{apply.KeyBuckets}
	if f.Module.late() {
		keys = f.replayed(keys)
	}
	if s, set, ok := f.Tree.Stays(f.loader(), remediate.MaxLimit, keys...); ok && set > 0 {
		n, by = set, at(s)
	}
	return n, by
}
