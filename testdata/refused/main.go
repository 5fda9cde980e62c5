// Command refused measures on this machine's real kernel how many connections a filling table refuses under ctwarden, a
// few other tools, and none. It prints tables in Markdown, as PERFORMANCE.md has them. Where a run misses its row's goal,
// the row says so, and the command ends with 1 once all are done.
//
//	refused -runs 3 -rows '^ctwarden$'
//
// Every run has a namespace of its own, the limit lowered to 20,000 and the buckets as they were found, where its row says
// nothing else; ctwarden starts with an empty state. All traffic ends in a namespace of this program's, and limit and buckets
// are put back after each run. It needs root, iproute2, nftables and conntrack; the rows of other tools need swatchdog and rsyslogd.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "refused: interrupted")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	runs    int
	rows    *regexp.Regexp
	program string // the agent
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("refused", flag.ContinueOnError)
	flags.IntVar(&o.runs, "runs", 10, "runs of each row; a row of latencies has ten times as many trials")
	rows := flags.String("rows", "", "a regular expression: only the rows whose names it matches")
	flags.StringVar(&o.program, "program", "bin/ctwarden", "the agent to measure")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.runs < 1 || o.runs > 1000 {
		return o, fmt.Errorf("-runs %d: want 1 to 1000", o.runs)
	}
	if o.rows, err = regexp.Compile(*rows); err != nil {
		return o, fmt.Errorf("-rows: %w", err)
	}
	if _, err := os.Stat(o.program); err != nil {
		return o, fmt.Errorf("-program: %w; make build makes it", err)
	}
	return o, nil
}

// run measures and undoes all, also when ctx is done.
func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if err := testkernel.Available(); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "ctwarden-refused-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	memory, err := os.MkdirTemp("/dev/shm", "ctwarden-refused-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(memory)) }()
	b := &bench{options: o, scratch: scratch, memory: memory}
	if err := b.head(ctx); err != nil {
		return err
	}
	var errs []error // of one row each: it failed, or missed its goal
	for _, t := range b.tables() {
		errs = append(errs, b.table(ctx, t))
	}
	return errors.Join(append(errs, b.latencies(ctx))...)
}
