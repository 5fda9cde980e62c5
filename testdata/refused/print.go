package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// head says what is measured on what.
func (b *bench) head(ctx context.Context) error {
	share, err := memoryShare()
	if err != nil {
		return err
	}
	lock, err := testkernel.Acquire(ctx) // nobody has changed the buckets then
	if err != nil {
		return err
	}
	buckets := lock.Saved().Buckets
	if err := lock.Release(); err != nil {
		return err
	}
	fmt.Printf("%d CPUs, Linux %s, limit %d at the start of each run, %d buckets, ceiling %d, `memory_share` %.2f; runs of each row: %d. "+
		"Cells are the least, the median and the most, or the one figure that all runs had.\n",
		runtime.NumCPU(), release(), limit, buckets, ceiling, share, b.runs)
	return nil
}

// release is the kernel's.
func release() string {
	var name syscall.Utsname
	if err := syscall.Uname(&name); err != nil {
		return "of unknown release"
	}
	var s strings.Builder
	for _, c := range name.Release {
		if c == 0 {
			break
		}
		s.WriteByte(byte(c))
	}
	return s.String()
}

// column is a figure of each run.
type column struct {
	name string
	of   func(outcome) int
	goal func(goal) bounds
}

func lost(g goal) bounds { return g.lost }

// columns are those of every table.
var columns = []column{
	{"refused", func(o outcome) int { return o.refused }, lost},
	{"seen by the senders", func(o outcome) int { return o.eperm }, lost},
	{"thrown out early", func(o outcome) int { return o.early }, lost},
	{"limit at the end", func(o outcome) int { return o.limit }, func(g goal) bounds { return g.limit }},
	{"steps", func(o outcome) int { return o.steps }, func(g goal) bounds { return g.steps }},
	{"packets/s", func(o outcome) int { return int(o.rate) }, func(g goal) bounds { return bounds{g.rate, math.MaxInt} }},
}

// table plays the rows of a table that are wanted, and prints each as it is done. It goes on after a row that failed or
// missed its goal.
func (b *bench) table(ctx context.Context, t table) error {
	wanted := slices.DeleteFunc(t.rows, func(r row) bool { return !b.rows.MatchString(r.name) })
	if len(wanted) == 0 {
		return nil
	}
	fmt.Printf("\n### %s\n\n| |", t.title)
	for _, c := range columns {
		fmt.Printf(" %s |", c.name)
	}
	fmt.Printf("\n|---|%s\n", strings.Repeat("---|", len(columns)))
	var errs []error
	for _, r := range wanted {
		outcomes, err := b.play(ctx, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		text, err := line(r, outcomes)
		fmt.Println(text)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// play plays a row as often as it is wanted.
func (b *bench) play(ctx context.Context, r row) ([]outcome, error) {
	var all []outcome
	for i := range b.runs {
		o, err := b.once(ctx, r)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "%s, run %d: %+v\n", r.name, i+1, o)
		all = append(all, o)
	}
	return all, nil
}

// line is a row of a table. Its error says that a run missed the goal.
func line(r row, outcomes []outcome) (text string, err error) {
	text = "| " + r.name + " |"
	for _, c := range columns {
		values := make([]int, len(outcomes))
		for i, o := range outcomes {
			values[i] = c.of(o)
		}
		cell, missed := c.judge(r.goal, values)
		text += " " + cell + " |"
		if missed {
			err = errors.Join(err, fmt.Errorf("%s: %s: %s", r.name, c.name, cell))
		}
	}
	return text, err
}

// spread is the least, the median and the most of some values, or what all of them are.
func spread(values []int) string {
	values = slices.Sorted(slices.Values(values))
	least, middle, most := values[0], values[len(values)/2], values[len(values)-1]
	if len(values)%2 == 0 {
		middle = (middle + values[len(values)/2-1]) / 2
	}
	if least == most {
		return thousands(least)
	}
	return thousands(least) + " / " + thousands(middle) + " / " + thousands(most)
}

// thousands writes a number with its thousands apart.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
