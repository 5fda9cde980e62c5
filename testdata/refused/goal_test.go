package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRowsAreJudgedByEachRun(t *testing.T) {
	const entries = 300_000
	good := outcome{rate: 99_970, limit: 360_000, steps: 3}
	for _, c := range []struct {
		name string
		goal *goal
		bad  func(*outcome)
		want string // the cell that says so; empty: the goal is met
	}{
		{"nothing refused, three steps", holds(entries), func(*outcome) {}, ""},
		{"exactly twice the need", holds(entries), func(o *outcome) { o.limit = 666_666 }, ""},
		{"one packet refused", holds(entries), func(o *outcome) { o.refused = 1 }, "| 0 / 0 / 1: MISSED 0 in 1 of 3 |"},
		{"one that only the sender saw", holds(entries), func(o *outcome) { o.eperm = 7 },
			"| 0 / 0 / 7: MISSED 0 in 1 of 3 |"},
		{"one thrown out early", holds(entries), func(o *outcome) { o.early = 2 }, "| 0 / 0 / 2: MISSED 0 in 1 of 3 |"},
		{"more than twice the need", holds(entries), func(o *outcome) { o.limit = 666_667 },
			"| 360,000 / 360,000 / 666,667: MISSED 300,000 to 666,666 in 1 of 3 |"},
		{"less than the load leaves", holds(entries), func(o *outcome) { o.limit = 299_999 },
			"| 299,999 / 360,000 / 360,000: MISSED 300,000 to 666,666 in 1 of 3 |"},
		{"six steps", holds(entries), func(o *outcome) { o.steps = 6 }, "| 3 / 3 / 6: MISSED 1 to 5 in 1 of 3 |"},
		{"no step", holds(entries), func(o *outcome) { o.steps = 0 }, "| 0 / 3 / 3: MISSED 1 to 5 in 1 of 3 |"},
		{"as many lost as a resize may cost", holds(entries).sized(), func(o *outcome) { o.refused, o.early = 10_000, 10_000 }, ""},
		{"one more", holds(entries).sized(), func(o *outcome) { o.refused = 10_001 }, "| 0 / 0 / 10,001: MISSED 0 to 10,000 in 1 of 3 |"},
		{"as slow as may be", holds(entries).at(100_000), func(o *outcome) { o.rate = 95_000 }, ""},
		{"slower", holds(entries).at(100_000), func(o *outcome) { o.rate = 94_999 },
			"| 94,999 / 99,970 / 99,970: MISSED at least 95,000 in 1 of 3 |"},
		{"without a goal", nil, func(o *outcome) { *o = outcome{refused: 70_000, eperm: 70_000, limit: 20_000} }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := good
			c.bad(&bad)
			text, err := line(row{name: "a load", goal: c.goal}, []outcome{good, bad, good})
			if (err != nil) != (c.want != "") || strings.Contains(text, "MISSED") != (c.want != "") {
				t.Errorf("%v of %s; want a goal missed: %v", err, text, c.want != "")
			}
			if !strings.Contains(text, c.want) || !strings.HasPrefix(text, "| a load |") {
				t.Errorf("the row is %s, want in it %s", text, c.want)
			}
		})
	}
}

func TestATableThatStandsGetsNoStep(t *testing.T) {
	still := outcome{limit: limit}
	if text, err := line(row{name: "still", goal: stands()}, []outcome{still, still}); err != nil {
		t.Errorf("%v of %s", err, text)
	}
	text, err := line(row{name: "still", goal: stands()}, []outcome{still, {limit: 40_000, steps: 1}})
	if want := "| 20,000 / 30,000 / 40,000: MISSED 20,000 in 1 of 2 | 0 / 0 / 1: MISSED 0 in 1 of 2 |"; err == nil ||
		!strings.Contains(text, want) {
		t.Errorf("%v of %s, want in it %s", err, text, want)
	}
}

// TestWhichRowsHaveNoGoal names them, so that no row of the agent is left without one by mistake.
func TestWhichRowsHaveNoGoal(t *testing.T) {
	var without []string
	for _, t := range new(bench).tables() {
		for _, r := range t.rows {
			if r.goal == nil {
				without = append(without, r.name)
			}
		}
	}
	want := []string{
		"no tool", "ctwarden that never samples: lines alone", "ctwarden that samples every second, no lines",
		"swatchdog, a script per line", "rsyslog omprog, a script per line",
		"no tool, all senders",
	}
	if !slices.Equal(without, want) {
		t.Errorf("without a goal are %q, want %q", without, want)
	}
}

func TestLatenciesAreJudged(t *testing.T) {
	trials := func(slow int, after time.Duration) []time.Duration {
		all := slices.Repeat([]time.Duration{2 * time.Millisecond}, 100)
		for i := range slow {
			all[i] = after
		}
		return all
	}
	all := new(bench).delays()
	agent, lines := all[0], all[1]
	if text, err := lines.line(trials(51, 4*time.Millisecond), []int{5}); err != nil {
		t.Errorf("%v of %s", err, text)
	}
	if text, err := lines.line(trials(51, 4100*time.Microsecond), []int{5}); err == nil || !strings.Contains(text, "MISSED 4.0 ms") {
		t.Errorf("%v of %s, want it missed", err, text)
	}
	for _, c := range []struct {
		name  string
		after []time.Duration
		want  string // the cells p50, p99 and most
		met   bool
	}{
		{"all fast", trials(0, 0), "| 2.0 ms | 2.0 ms | 2.0 ms |", true},
		{"one of a hundred slow", trials(1, time.Second), "| 2.0 ms | 2.0 ms | 1000.0 ms |", true},
		{"both at the goal", append(trials(50, 3*time.Millisecond), trials(50, 10*time.Millisecond)[:50]...),
			"| 3.0 ms | 10.0 ms | 10.0 ms |", true},
		{"half of them late", trials(51, 3100*time.Microsecond), "| 3.1 ms: MISSED 3.0 ms | 3.1 ms | 3.1 ms |", false},
		{"two of a hundred late", trials(2, 10100*time.Microsecond), "| 2.0 ms | 10.1 ms: MISSED 10.0 ms | 10.1 ms |", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := agent.line(c.after, []int{5, 9})
			if (err == nil) != c.met || !strings.HasSuffix(text, c.want) {
				t.Errorf("%v of %s; want %s, met: %v", err, text, c.want, c.met)
			}
		})
	}
}
