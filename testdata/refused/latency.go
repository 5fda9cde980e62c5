package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

const (
	// room is what is left of the limit before the burst: too little for any reading to see it fill up.
	room = 100
	// trialsPerRun is the number of latencies for each run of the other rows.
	trialsPerRun = 10
	// triesPerTrial bounds the trials that refuse nothing, since the limit was raised before.
	triesPerTrial = 3
)

// trial is one latency.
type trial struct {
	refused int
	after   time.Duration // from the first refusal to the raised limit; 0: nothing was refused
}

// delay is a row of latencies.
type delay struct {
	name string
	tool tool
	half time.Duration // the goal of half of the trials
}

// delays lists them. A table that is nearly full is read every 5 ms, so that what the kernel's line does is shown by the agent
// that is led by lines alone.
func (b *bench) delays() []delay {
	return []delay{{"latency", b.warden, halfWithin}, {"latency, lines alone", b.lines, tickWithin}}
}

// latencies measures how long after the first refused packet the limit is raised, as the sender sees both: after every
// eight packets it reads the limit. It has the usual priority, as what fills a table on a host has, and the agent that of its
// unit.
func (b *bench) latencies(ctx context.Context) error {
	wanted := slices.DeleteFunc(b.delays(), func(d delay) bool { return !b.rows.MatchString(d.name) })
	if len(wanted) == 0 {
		return nil
	}
	fmt.Print("\n### From the first refused packet to the raised limit\n\n" +
		"| | trials | refused meanwhile | p50 | p99 | most |\n|---|---|---|---|---|---|\n")
	var errs []error
	for _, d := range wanted {
		errs = append(errs, b.latency(ctx, d))
	}
	return errors.Join(errs...)
}

// latency prints one row.
func (b *bench) latency(ctx context.Context, d delay) error {
	want := trialsPerRun * b.runs
	var after []time.Duration
	var refused []int
	early := 0
	for len(after) < want {
		t, err := b.trial(ctx, d.tool)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %d refused, raised after %v\n", d.name, t.refused, t.after)
		if t.after > 0 {
			after, refused = append(after, t.after), append(refused, t.refused)
			continue
		}
		if early++; early > triesPerTrial*want {
			return fmt.Errorf("%s: the limit is raised before anything is refused: there is nothing to measure", d.name)
		}
	}
	text, err := d.line(after, refused)
	fmt.Println(text)
	if early > 0 {
		fmt.Fprintf(os.Stderr, "%s: %d more trials refused nothing: the limit was raised first\n", d.name, early)
	}
	return err
}

// line is the row. Its error says that a goal was missed.
func (d delay) line(after []time.Duration, refused []int) (text string, err error) {
	after = slices.Sorted(slices.Values(after))
	half, halfMissed := judgeTime(percentile(after, 50), d.half)
	most, mostMissed := judgeTime(percentile(after, 99), mostWithin)
	if halfMissed || mostMissed {
		err = fmt.Errorf("%s: p50 %s, p99 %s", d.name, half, most)
	}
	return fmt.Sprintf("| %s | %d | %s | %s | %s | %s |",
		d.name, len(after), spread(refused), half, most, ms(after[len(after)-1])), err
}

// trial fills what room is left in one burst, and goes on until the limit is raised.
func (b *bench) trial(ctx context.Context, start tool) (t trial, err error) {
	s, leave, err := b.setUp(ctx, row{before: limit - room})
	defer func() { err = errors.Join(err, leave()) }()
	if err != nil {
		return t, err
	}
	agent, err := start(ctx, *s)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, agent.stop()) }()
	if err := settle(ctx); err != nil {
		return t, err
	}
	max, err := os.Open("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		return t, err
	}
	defer max.Close()
	var raised time.Time
	until := func() bool {
		if !aboveLimit(max) {
			return false
		}
		raised = time.Now()
		return true
	}
	r, err := s.spaces[0].Send(ctx, testkernel.Traffic{Flows: flows, Senders: 1, Batch: 8, Until: until})
	if err != nil {
		return t, err
	}
	switch {
	case raised.IsZero():
		return t, fmt.Errorf("not raised in %v", r.Took)
	case r.FirstRefused.IsZero():
		return t, ctx.Err()
	}
	return trial{refused: int(r.Refused), after: raised.Sub(r.FirstRefused)}, ctx.Err()
}

// aboveLimit tells whether the kernel's limit, which reads the file anew, is above the one of the start.
func aboveLimit(max *os.File) bool {
	var buf [32]byte
	n, _ := max.ReadAt(buf[:], 0) // what cannot be read is not above, and ends the trial with an error
	now, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	return err == nil && now > limit
}

// percentile is the least value that p percent of the sorted values do not exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)*p+99)/100-1]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
