package main

import (
	"fmt"
	"math"
	"time"
)

// bounds are the least and the most that a figure may come to.
type bounds struct{ least, most int }

func (b bounds) String() string {
	switch {
	case b.least == b.most:
		return thousands(b.least)
	case b.most == math.MaxInt:
		return "at least " + thousands(b.least)
	}
	return thousands(b.least) + " to " + thousands(b.most)
}

// goal is what each run of a row has to come to.
type goal struct {
	lost  bounds // refused, and thrown out early, each: nothing, but where the hash has to be sized first
	limit bounds // at the end
	steps bounds
	rate  int // so many packets a second at least: senders that were held up have shown nothing
}

// reserve is what has to be free of a table at any time if nothing is to be refused: 20 ms of max_insert_rate, and at least
// the tenth of the limit above incident.pressure, from which on a table that rises gets a step. A load needs that beside
// its entries, up to its end, which nobody can foresee.
func reserve(entries int) int { return max(expected/50, entries/9) }

// holds is the goal of a load that leaves so many entries in a namespace: a limit of no more than twice what it needs, in
// no more steps than doublings.
func holds(entries int) *goal { return holdsFrom(limit, entries) }

// holdsFrom is holds where the limit is another at the start.
func holdsFrom(start, entries int) *goal {
	need := entries + reserve(entries)
	steps := 1
	for most := 2 * start; most < need; most *= 2 {
		steps++
	}
	return &goal{limit: bounds{entries, 2 * need}, steps: bounds{1, steps}}
}

// sized is the goal where the hash has to be sized first, which moves all entries and is done once connections are refused:
// no more are lost than come in a tenth of a second.
func (g *goal) sized() *goal {
	g.lost.most = rate / 10
	return g
}

// at is the goal of a load that is to come at so many packets a second, 19 of 20 of which must have come.
func (g *goal) at(rate int) *goal {
	g.rate = rate * 19 / 20
	return g
}

// stands is the goal of a table that does not get fuller in the end: every step is needless.
func stands() *goal { return &goal{limit: bounds{limit, limit}} }

// judge writes the figures of a column, with the goal where a run missed it.
func (c column) judge(g *goal, values []int) (cell string, missed bool) {
	cell = spread(values)
	if g == nil {
		return cell, false
	}
	want, n := c.goal(*g), 0
	for _, v := range values {
		if v < want.least || v > want.most {
			n++
		}
	}
	if n == 0 {
		return cell, false
	}
	return fmt.Sprintf("%s: MISSED %v in %d of %d", cell, want, n, len(values)), true
}

// The goals of the time from the first refused packet to the raised limit.
const (
	halfWithin = 3 * time.Millisecond  // p50
	tickWithin = 4 * time.Millisecond  // p50 where the kernel's line alone leads to it, which comes with the next tick
	mostWithin = 10 * time.Millisecond // p99
)

// judgeTime writes a time, with its goal where it missed it.
func judgeTime(d, goal time.Duration) (cell string, missed bool) {
	if d <= goal {
		return ms(d), false
	}
	return fmt.Sprintf("%s: MISSED %s", ms(d), ms(goal)), true
}
