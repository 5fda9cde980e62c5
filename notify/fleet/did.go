package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/ctwarden/ctwarden/remediate"
)

// did says what ctwarden did about a group and whether it helped, one sentence each.
func (f *Fleet) did(v *Group) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	s := &v.Steps
	if s.Applied > 0 {
		add("%s of the limit taken: %d helped, %d did not, %d not known yet", count(s.Applied, "step"), s.Effective, s.Ineffective,
			max(s.Applied-s.Effective-s.Ineffective, 0))
	}
	if s.Reverted > 0 {
		add("%s undone", count(s.Reverted, "step"))
	}
	if s.Failed > 0 {
		add("%s could not be written", count(s.Failed, "step"))
	}
	for _, why := range byCount(s.Refused) {
		add("no step in %s: %s", count(s.Refused[why], "incident"), textOf(why))
	}
	if v.Kind == KindConntrack && len(out) == 0 && v.ClosedAt.IsZero() {
		add("no step was taken so far")
	}
	if v.Unverified > 0 {
		add("%s not borne out by the kernel's counters", count(v.Unverified, "incident"))
	}
	if v.SilentHosts > 0 {
		add("%s fell silent meanwhile, so that their end is not known", count(v.SilentHosts, "host"))
	}
	if v.Talker != "" {
		add("%s holds the most entries on them: one attack rather than many failures", v.Talker)
	}
	for _, id := range v.Related {
		add("see also %s, which has the same top address", id)
	}
	if f.budget.until != 0 && v.Kind == KindBudget {
		add("automatic steps are held on all hosts until %s", moment(f.budget.until).Format("15:04:05 MST"))
	}
	return out
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// byCount are reasons, the most frequent first.
func byCount(m map[remediate.Reason]int) []remediate.Reason {
	return slices.SortedFunc(maps.Keys(m), func(a, b remediate.Reason) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
}
