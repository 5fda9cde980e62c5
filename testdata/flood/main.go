// Command flood fills a connection-tracking table with new flows, for the demo and for trying things out by hand.
//
//	flood -flows 300000                          one burst, in a scratch namespace that ends with the program
//	flood -first -limit 20000 -flows 60000       in this namespace, the limit lowered and put back at the end
//	flood -kind established -flows 300000        connections in use, so that the kernel refuses at once
//	flood -rate 100000 -flows 300000 -stay 10s   at a rate, keeping the entries for ten seconds
//
// Nothing leaves the machine. It needs root, iproute2 and nftables.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(1)
	}
}

// kinds are the values of -kind.
var kinds = map[string]testkernel.Kind{
	"udp": testkernel.UDP, "udp6": testkernel.UDP6, "syn": testkernel.SYN, "syn6": testkernel.SYN6,
	"established": testkernel.Established,
}

// options are the flags.
type options struct {
	first bool
	limit uint64
	flows int
	rate  float64
	times int
	kind  string
	pause time.Duration
	stay  time.Duration
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("flood", flag.ContinueOnError)
	flags.BoolVar(&o.first, "first", false, "fill this namespace instead of a scratch one")
	flags.Uint64Var(&o.limit, "limit", 0, "with -first: lower the limit to this many entries meanwhile; 0: leave it")
	flags.IntVar(&o.flows, "flows", 100000, "new flows to send")
	flags.Float64Var(&o.rate, "rate", 0, "flows per second; 0: one burst")
	flags.IntVar(&o.times, "times", 1, "how often to send that many")
	flags.StringVar(&o.kind, "kind", "udp", "udp, udp6, syn, syn6 or established (never thrown out early)")
	flags.DurationVar(&o.pause, "pause", time.Second, "how long to wait in between")
	flags.DurationVar(&o.stay, "stay", 0, "how long to keep the entries afterwards")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if _, ok := kinds[o.kind]; !ok {
		return o, fmt.Errorf("-kind %q: want udp, udp6, syn, syn6 or established", o.kind)
	}
	if o.limit > 0 && !o.first {
		return o, errors.New("-limit needs -first: the limit is one for all namespaces")
	}
	return o, nil
}

func run(args []string, stdout io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if err := testkernel.Available(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.first {
		return first(ctx, o, stdout)
	}
	ns, err := testkernel.NewNamespace(ctx)
	if err != nil {
		return err
	}
	return errors.Join(flood(ctx, ns, o, stdout), ns.Close())
}

// first fills this process's own namespace, under the lock.
func first(ctx context.Context, o options, stdout io.Writer) error {
	lock, err := testkernel.Acquire(ctx)
	if err != nil {
		return err
	}
	work := func() error {
		ns, err := lock.FirstNamespace(ctx)
		if err != nil {
			return err
		}
		if o.limit > 0 {
			if err := lock.SetMax(o.limit); err != nil {
				return err
			}
		}
		return flood(ctx, ns, o, stdout)
	}
	return errors.Join(work(), lock.Release())
}

func flood(ctx context.Context, ns *testkernel.Namespace, o options, stdout io.Writer) error {
	fmt.Fprintf(stdout, "namespace %q, inode %d\n", ns.Name, ns.Inode)
	for i := range o.times {
		if i > 0 {
			wait(ctx, o.pause)
		}
		result, err := ns.Send(ctx, testkernel.Traffic{Kind: kinds[o.kind], Flows: o.flows, Rate: o.rate})
		if err != nil {
			return err
		}
		count, err := ns.Count()
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%d packets let through, %d refused in %v (%.0f/s), %d entries\n",
			result.Sent, result.Refused, result.Took.Round(time.Millisecond), result.PerSecond(), count)
	}
	wait(ctx, o.stay)
	return nil
}

// wait waits for d or the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
