package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"time"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// shape sends into one namespace.
type shape func(context.Context, *testkernel.Namespace) (testkernel.Result, error)

const (
	flows = 300_000
	rate  = 100_000 // flows per second
	// expected is the default of max_insert_rate: so much an agent has to hold.
	expected = 200_000
	// first is the senders' priority: no other load slows them down, as it would not slow down the network.
	first = -15
)

// paced is traffic from one sender at a rate, or at a pace of its own.
func paced(t testkernel.Traffic) shape {
	t.Nice = first
	return func(ctx context.Context, ns *testkernel.Namespace) (testkernel.Result, error) { return ns.Send(ctx, t) }
}

func steady() shape { return full(testkernel.UDP) }

// full is all flows at the full rate.
func full(kind testkernel.Kind) shape {
	return paced(testkernel.Traffic{Kind: kind, Flows: flows, Rate: rate})
}

// leak is connections in use that come slowly and never end.
func leak(flows int) shape {
	return paced(testkernel.Traffic{Kind: testkernel.Established, Flows: flows, Rate: 10})
}

// flatOut sends from all CPUs, as fast as they can.
func flatOut(ctx context.Context, ns *testkernel.Namespace) (testkernel.Result, error) {
	return fromAll(0)(ctx, ns)
}

// fromAll sends from all CPUs at a rate of all together, at the priority of everything else: above it, nobody else would
// get a turn.
func fromAll(rate float64) shape {
	return func(ctx context.Context, ns *testkernel.Namespace) (testkernel.Result, error) {
		return ns.Send(ctx, testkernel.Traffic{Flows: flows, Rate: rate, Senders: runtime.NumCPU()})
	}
}

// ramp rises to the full rate in the time that all flows then take.
func ramp() shape {
	const top = 2 * float64(flows) / rate // seconds
	pace := func(since time.Duration) float64 {
		s := min(since.Seconds(), top)
		return rate * s * s / (2 * top)
	}
	return paced(testkernel.Traffic{Flows: flows, Pace: pace})
}

// burstFlows are those of 25 bursts.
const burstFlows = 25 * rate / 20

// bursts come five a second: 50 ms at the full rate, then nothing.
func bursts() shape {
	const every, long = 200 * time.Millisecond, 50 * time.Millisecond
	pace := func(since time.Duration) float64 {
		busy := since/every*long + min(since%every, long)
		return rate * busy.Seconds()
	}
	return paced(testkernel.Traffic{Flows: burstFlows, Pace: pace})
}

// sawtooth adds 2 % of the limit in the course of a second, over and over, and removes them at once in between.
func sawtooth(ctx context.Context, ns *testkernel.Namespace) (testkernel.Result, error) {
	var all testkernel.Result
	begin := time.Now()
	const tooth = limit * 2 / 100
	for range 8 {
		r, err := ns.Send(ctx, testkernel.Traffic{Flows: tooth, Rate: tooth, Nice: first})
		all.Sent, all.Refused = all.Sent+r.Sent, all.Refused+r.Refused
		if err != nil {
			return all, err
		}
		// What was there before is TCP, and stays. Where a run was interrupted there may be nothing to delete.
		out, err := exec.CommandContext(ctx, "ip", "netns", "exec", ns.Name, "conntrack", "-D", "-p", "udp").CombinedOutput()
		if err != nil {
			return all, fmt.Errorf("conntrack -D: %w: %.200s", err, out)
		}
	}
	all.Took = time.Since(begin)
	return all, nil
}

// standing sends nothing.
func standing(ctx context.Context, _ *testkernel.Namespace) (testkernel.Result, error) {
	const long = 8 * time.Second
	select {
	case <-ctx.Done():
	case <-time.After(long):
	}
	return testkernel.Result{Took: long}, nil
}
