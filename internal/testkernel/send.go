package testkernel

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// maxFlows and maxTime bound one Send, so that a mistake in a test cannot run away with the machine.
	maxFlows = 5_000_000
	maxTime  = 2 * time.Minute
)

// Traffic says what to send: so many new flows.
type Traffic struct {
	Kind  Kind
	Flows int
	// From is which of eight addresses they come from, 0 to 7, see [Kind.Source].
	From int
	// Rate is the number of flows per second; 0: as fast as this machine can.
	Rate float64
	// Pace, where it is set, replaces Rate: the number of flows due so long after the beginning. It never falls, and is
	// called by all senders at once.
	Pace func(time.Duration) float64
	// Senders is the number of threads; 0: one when there is a pace or a rate, else one per CPU.
	Senders int
	// Batch is the number of packets of one system call, and so of flows between two looks at Until; 0: as many as is
	// fastest, which is also the most.
	Batch int
	// Nice is the senders' priority, from -20 (first) to 19. Below 0, other load on the machine does not slow the traffic
	// down, as it would not slow down what comes from the network.
	Nice int
	// Until, where it is set, is asked after each system call of each sender; once it says true, that sender ends.
	Until func() bool
}

// pace is the number of flows due at a time for each sender; nil: all at once.
func (t Traffic) pace() func(time.Duration) float64 {
	share := 1 / float64(t.Senders)
	switch {
	case t.Pace != nil:
		return func(since time.Duration) float64 { return t.Pace(since) * share }
	case t.Rate > 0:
		return func(since time.Duration) float64 { return since.Seconds() * t.Rate * share }
	}
	return nil
}

// Result says what became of the packets: one a flow, three for Established.
type Result struct {
	// Sent were let through: their flow had an entry. Refused were refused by the kernel, with EPERM.
	Sent    uint64
	Refused uint64
	Took    time.Duration
	// FirstRefused is when the first refusal came back from the kernel; zero: there was none.
	FirstRefused time.Time
}

// add takes in what another sender saw, but for the time it took.
func (r *Result) add(other Result) {
	r.Sent += other.Sent
	r.Refused += other.Refused
	if r.FirstRefused.IsZero() || !other.FirstRefused.IsZero() && other.FirstRefused.Before(r.FirstRefused) {
		r.FirstRefused = other.FirstRefused
	}
}

// PerSecond is the number of packets sent and refused per second.
func (r Result) PerSecond() float64 { return float64(r.Sent+r.Refused) / r.Took.Seconds() }

// Burst sends new flows over UDP as fast as this machine can.
func (n *Namespace) Burst(ctx context.Context, flows int) (Result, error) {
	return n.Send(ctx, Traffic{Flows: flows})
}

// Send sends new flows that no earlier call has sent. When ctx is done it stops early, without an error.
func (n *Namespace) Send(ctx context.Context, t Traffic) (Result, error) {
	if t.Flows < 0 || t.Flows > maxFlows {
		return Result{}, fmt.Errorf("send %d flows: at most %d are allowed", t.Flows, maxFlows)
	}
	if t.From < 0 || t.From >= sources {
		return Result{}, fmt.Errorf("send from address %d: there are %d", t.From, sources)
	}
	if t.Senders == 0 {
		t.Senders = 1
		if t.Rate == 0 && t.Pace == nil {
			t.Senders = runtime.NumCPU()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	senders, err := n.senders(t)
	defer func() {
		for _, s := range senders {
			s.close()
		}
	}()
	if err != nil {
		return Result{}, err
	}
	return sendAll(ctx, senders)
}

// senders opens the sockets and divides the flows among them.
func (n *Namespace) senders(t Traffic) ([]*sender, error) {
	var senders []*sender
	first := n.next.Add(uint64(t.Flows)) - uint64(t.Flows)
	for i := range t.Senders {
		share := t.Flows / t.Senders
		if i < t.Flows%t.Senders {
			share++
		}
		s := newSender(t, first, share)
		if err := n.Do(s.open); err != nil {
			return senders, err
		}
		senders = append(senders, s)
		first += uint64(share)
	}
	return senders, nil
}

func sendAll(ctx context.Context, senders []*sender) (Result, error) {
	var (
		group errgroup.Group
		mu    sync.Mutex
		total Result
	)
	begin := time.Now()
	for _, s := range senders {
		group.Go(func() error {
			return quiet(s.nice, func() error {
				result, err := s.run(ctx)
				mu.Lock()
				defer mu.Unlock()
				total.add(result)
				return err
			})
		})
	}
	err := group.Wait()
	total.Took = time.Since(begin)
	return total, err
}
