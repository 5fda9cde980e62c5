package oncall

import (
	"fmt"
	"strings"

	"github.com/ctwarden/ctwarden/remediate"
)

// Did says what ctwarden did and whether it helped, from the step events of one trouble in their order: one sentence for
// each raise (a chain of steps is one), and one for each step not taken.
func Did(steps []remediate.Event) []string {
	var raises []raise
	var out []string
	flush := func() {
		for _, r := range raises {
			out = append(out, r.text())
		}
		raises = nil
	}
	for _, ev := range steps {
		s, ok := ev.Data.(remediate.Step)
		if !ok {
			continue
		}
		switch ev.Type {
		case remediate.EventStepApplied:
			raises = applied(raises, s)
		case remediate.EventStepConfirmed:
			raises = confirmed(raises, s)
		case remediate.EventStepRefused:
			flush()
			out = append(out, "took no step: "+refusal(s))
		case remediate.EventStepFailed:
			flush()
			out = append(out, notDone(s))
		case remediate.EventStepReverted:
			flush()
			out = append(out, fmt.Sprintf("took its step back: the limit is %d again, from %d: %s", s.To, s.From, because(s)))
		}
	}
	flush()
	return out
}

// notDone says what could not be done to the limit.
func notDone(s remediate.Step) string {
	if s.To < s.From {
		return fmt.Sprintf("could not take its step back, from %d to %d: %s", s.From, s.To, s.Error)
	}
	return fmt.Sprintf("could not raise the limit from %d to %d: %s", s.From, s.To, s.Error)
}

// Brief says the last of it in a few words; empty: nothing was done or refused.
func Brief(steps []remediate.Event) (text string) {
	for _, ev := range steps {
		s, ok := ev.Data.(remediate.Step)
		if !ok {
			continue
		}
		switch ev.Type {
		case remediate.EventStepApplied:
			text = "limit raised"
		case remediate.EventStepConfirmed:
			text = "limit raised" + map[remediate.Outcome]string{
				remediate.OutcomeEffective: ", it helped", remediate.OutcomeIneffective: ", it did not help",
			}[s.Outcome]
		case remediate.EventStepRefused:
			text = "no step: " + strings.ReplaceAll(string(s.Reason), "_", " ")
		case remediate.EventStepFailed:
			text = "limit could not be raised"
			if s.To < s.From {
				text = "step could not be taken back"
			}
		case remediate.EventStepReverted:
			text = "step taken back"
		}
	}
	return text
}

// raise is a chain of steps, of which the last one's outcome is that of all.
type raise struct {
	remediate.Step
	steps int
	known bool // its outcome was told
}

func applied(raises []raise, s remediate.Step) []raise {
	if last := len(raises) - 1; last >= 0 && !raises[last].known && raises[last].To == s.From {
		s.From, s.At = raises[last].From, raises[last].At
		raises[last] = raise{Step: s, steps: raises[last].steps + 1}
		return raises
	}
	return append(raises, raise{Step: s, steps: 1})
}

func confirmed(raises []raise, s remediate.Step) []raise {
	for i := range raises {
		if r := &raises[i]; !r.known && (r.ID == s.ID && s.ID != "" || r.To == s.To) {
			s.From, s.At = r.From, r.At
			r.Step, r.known = s, true
			return raises
		}
	}
	return append(raises, raise{Step: s, steps: 1, known: true})
}

func (r raise) text() string {
	text := fmt.Sprintf("raised the limit from %d to %d", r.From, r.To)
	if r.To < r.From {
		text = fmt.Sprintf("lowered the limit from %d to %d", r.From, r.To)
	}
	if r.steps > 1 {
		text += fmt.Sprintf(" in %d steps", r.steps)
	}
	text += " at " + r.At.UTC().Format("15:04:05 UTC")
	switch {
	case !r.known:
		return text + "; too early to tell whether it helped"
	case r.Outcome == remediate.OutcomeEffective && r.Persisted != "":
		return text + "; it helped, and lasts over a reboot"
	case r.Outcome == remediate.OutcomeEffective:
		return text + "; it helped, until the next reboot" + reason(r.Error)
	case r.Outcome == remediate.OutcomeIneffective:
		return text + "; it did not help" + reason(r.Error)
	}
	return text + "; whether it helped is not known" + reason(r.Error)
}

func reason(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

func refusal(s remediate.Step) string {
	text := s.Reason.Text()
	if text == "" {
		text = string(s.Reason)
	}
	return text + reason(s.Error)
}

func because(s remediate.Step) string {
	if text := s.Reason.Text(); text != "" {
		return text
	}
	return string(s.Reason)
}
