// Command demo makes ctwarden's job happen on this machine's real kernel, and puts everything back.
//
// It fills a scratch network namespace in one burst larger than the room left, so that the kernel refuses packets
// before any reading can see it coming; the agent raises the limit, makes it last, and the refusals stop. No limit is
// lowered and nothing leaves the machine. It needs root, iproute2 and nftables.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx)
	if ctx.Err() != nil {
		say("interrupted")
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run does it all and undoes it all, also when ctx is done.
func run(ctx context.Context) (err error) {
	if err := testkernel.Available(); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	lock, err := testkernel.Acquire(ctx)
	if err != nil {
		return err
	}
	before := lock.Saved()
	defer func() {
		err = errors.Join(err, lock.Release())
		after, readErr := testkernel.ReadLimits()
		err = errors.Join(err, readErr)
		say("put back: limit %d, buckets %d, namespaces and file", after.Max, after.Buckets)
	}()
	ns, err := testkernel.NewNamespace(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	file, err := keepFile(persistFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.restore()) }()
	scratch, err := os.MkdirTemp("", "ctwarden-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	d := demo{ns: ns, limit: before.Max, scratch: scratch, bin: filepath.Dir(exe)}
	return d.play(ctx)
}

// demo is one performance.
type demo struct {
	ns      *testkernel.Namespace
	limit   uint64 // the kernel's, in entries
	scratch string
	bin     string
}

// preload is the share of the limit that is in use before the burst. The agent finds it so and does nothing: a table
// that stands high without rising is no reason for a step.
const preload = 0.85

// play fills the namespace and shows what the two programs say.
func (d demo) play(ctx context.Context) (err error) {
	filled := int(preload * float64(d.limit))
	say("the limit is %d entries; %d connections are made in the scratch namespace %s", d.limit, filled, d.ns.Name)
	if _, err := d.ns.Send(ctx, testkernel.Traffic{Kind: testkernel.Established, Flows: filled}); err != nil {
		return err
	}
	programs, err := d.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, programs.stop()) }()
	room := int(d.limit) - filled
	say("now a burst of %d new connections into a room of %d", 2*room, room)
	if err := d.burst(ctx, 2*room); err != nil {
		return err
	}
	if err := programs.wait(ctx, "step.confirmed"); err != nil {
		return err
	}
	say("the persisted file:")
	show(persistFile)
	say("another burst, now that there is room")
	if err := d.burst(ctx, room); err != nil {
		return err
	}
	say("nothing more is refused; the incident closes after ten quiet seconds")
	return programs.wait(ctx, "incident.closed")
}

// burst sends new connections as fast as the machine can, and says what became of them.
func (d demo) burst(ctx context.Context, flows int) error {
	before, err := d.drops()
	if err != nil {
		return err
	}
	result, err := d.ns.Burst(ctx, flows)
	if err != nil {
		return err
	}
	after, err := d.drops()
	if err != nil {
		return err
	}
	say("%d connections in %d ms: the kernel refused or threw out %d", flows, result.Took.Milliseconds(), after-before)
	return ctx.Err()
}

func (d demo) drops() (uint64, error) {
	refused, err := d.ns.Drops()
	if err != nil {
		return 0, err
	}
	early, err := d.ns.EarlyDrops()
	return refused + early, err
}

// say prints one line of the demo's own.
func say(format string, args ...any) {
	fmt.Printf("%s demo: %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}
