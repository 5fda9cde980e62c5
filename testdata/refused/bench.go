package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

const (
	// limit is the kernel's at the start of each run, ceiling what a tool may raise it to, in entries.
	limit   = 20_000
	ceiling = 1 << 20
	// startWithin bounds the start of a tool, quietWithin the wait for the kernel to print its messages again.
	startWithin = 20 * time.Second
	quietWithin = time.Minute
)

// bench is one measurement. It is used by one goroutine.
type bench struct {
	options
	scratch string
	memory  string // a scratch directory in memory, as /run is
	runsYet int
}

// stage is what one run plays on.
type stage struct {
	lock   *testkernel.Lock
	dir    string // empty at the beginning, gone afterwards
	run    string // the same, in memory
	spaces []*testkernel.Namespace
}

// running is a tool at work.
type running struct {
	stop  func() error
	steps func(context.Context) (int, error) // how often it has raised the limit
}

// tool starts something that may raise the limit, and waits until it would. What it started it ends itself when it
// fails.
type tool func(context.Context, stage) (running, error)

// outcome is what one run came to.
type outcome struct {
	rate    float64 // packets a second, refused ones too
	eperm   int     // refusals that the senders saw
	refused int     // the kernel's drop, over all namespaces of the run
	early   int     // its early_drop
	limit   int     // at the end
	steps   int
}

// once plays a row one time.
func (b *bench) once(ctx context.Context, r row) (o outcome, err error) {
	s, leave, err := b.setUp(ctx, r)
	defer func() { err = errors.Join(err, leave()) }()
	if err != nil {
		return o, err
	}
	if r.busy {
		rest, err := work()
		defer rest()
		if err != nil {
			return o, err
		}
	}
	t, err := r.tool(ctx, *s)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	if err := settle(ctx); err != nil {
		return o, err
	}
	if r.born {
		if err := s.addSpace(ctx, r); err != nil {
			return o, err
		}
	}
	if o, err = send(ctx, *s, r.send); err != nil {
		return o, err
	}
	o.steps, err = t.steps(ctx)
	return o, errors.Join(err, ctx.Err())
}

// setUp takes the lock, for this run alone so that others need not wait for all, makes the namespaces, with what is in
// them from the beginning, and lowers the limit. What it returns undoes it, also what was done before an error.
func (b *bench) setUp(ctx context.Context, r row) (s *stage, leave func() error, err error) {
	b.runsYet++
	s = &stage{dir: fmt.Sprintf("%s/%d", b.scratch, b.runsYet), run: fmt.Sprintf("%s/%d", b.memory, b.runsYet)}
	leave = func() error {
		var errs []error
		for _, ns := range s.spaces {
			errs = append(errs, ns.Flush(), ns.Close())
		}
		if s.lock != nil {
			errs = append(errs, s.lock.Release())
		}
		return errors.Join(append(errs, os.RemoveAll(s.dir), os.RemoveAll(s.run))...)
	}
	if s.lock, err = testkernel.Acquire(ctx); err != nil {
		return s, leave, err
	}
	if err := errors.Join(os.Mkdir(s.dir, 0o700), os.Mkdir(s.run, 0o700)); err != nil {
		return s, leave, err
	}
	if !r.born {
		for range max(r.spaces, 1) {
			if err := s.addSpace(ctx, r); err != nil {
				return s, leave, err
			}
		}
	}
	if r.start.Buckets > 0 {
		if err := testkernel.SetBuckets(r.start.Buckets); err != nil {
			return s, leave, err
		}
	}
	return s, leave, s.lock.SetMax(cmp.Or(r.start.Max, limit))
}

// addSpace makes a namespace with what is in it from the beginning.
func (s *stage) addSpace(ctx context.Context, r row) error {
	ns, err := testkernel.NewNamespace(ctx)
	if err != nil {
		return err
	}
	s.spaces = append(s.spaces, ns)
	_, err = ns.Send(ctx, testkernel.Traffic{Kind: testkernel.Established, Flows: r.before})
	return err
}

// settle waits until the kernel would print its messages again: they are limited to ten in five seconds, and each run is
// to have them all.
func settle(ctx context.Context) (err error) {
	wait := testhost.Poll(ctx, quietWithin, func() (over bool) {
		over, err = testhost.RatelimitOver()
		return over || err != nil
	})
	return errors.Join(err, wait)
}

// send sends into all namespaces at once, and looks at once what came of it.
func send(ctx context.Context, s stage, shape shape) (o outcome, err error) {
	results := make([]testkernel.Result, len(s.spaces))
	var group errgroup.Group
	for i, ns := range s.spaces {
		group.Go(func() (err error) {
			results[i], err = shape(ctx, ns)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return o, err
	}
	now, err := testkernel.ReadLimits()
	if err != nil {
		return o, err
	}
	o.limit = int(now.Max)
	for i, ns := range s.spaces {
		drops, err := ns.Drops()
		if err != nil {
			return o, err
		}
		early, err := ns.EarlyDrops()
		if err != nil {
			return o, err
		}
		o.rate += results[i].PerSecond()
		o.eperm += int(results[i].Refused)
		o.refused, o.early = o.refused+int(drops), o.early+int(early)
	}
	return o, nil
}
