package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// hostsAtOnce is how many states are on their way at a time, so that memory does not grow with the fleet.
	hostsAtOnce = 128
	// hostsSilence is how long the server may send nothing while it has more.
	hostsSilence = 15 * time.Second
)

// ErrNoBucket says that the bucket of host states is missing at a server that was reached.
var ErrNoBucket = errors.New("the bucket " + HostsBucket + " is missing; create it with ctwarden-hub init --server URL")

// HostState is a host's state as it lies in the bucket.
type HostState struct {
	// At is when the server got it.
	At time.Time
	// Body is the JSON of the state. It is valid during the call alone.
	Body []byte
}

// Hosts calls fn with the state of every host of a site, or of all where the site is empty, in no particular order, and
// returns when fn has seen them all, or fails. A host whose state changes meanwhile may come twice, the later one last. fn
// is called from one goroutine at a time; no more than hostsAtOnce states are in memory.
//
// Errors: what [Dial.Check] finds, [ErrUnavailable], [ErrNoBucket], fn's, ctx's, or a permission that is missing.
func Hosts(ctx context.Context, d Dial, site string, fn func(HostState) error) error {
	if site != "" {
		if err := CheckSite(site); err != nil {
			return err
		}
	}
	if d.InboxPrefix == "" {
		d.InboxPrefix = OperatorInbox
	}
	// ended has room for one: the first end is the end.
	ended := make(chan error, 1)
	end := func(err error) {
		select {
		case ended <- err:
		default:
		}
	}
	nc, err := d.Connect(nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if denial := Denied(err); denial != nil {
			end(fmt.Errorf("%w: %w; a host's own credentials may not read the others' states, name an operator's with --credentials",
				ErrUnavailable, denial))
		}
	}))
	if err != nil {
		return err
	}
	defer nc.Close()
	// moved has room for one: something has come since the last look.
	moved := make(chan struct{}, 1)
	sub, err := eachHost(ctx, nc, site, end, func(h HostState) {
		select {
		case moved <- struct{}{}:
		default:
		}
		if err := fn(h); err != nil {
			end(err)
		}
	})
	if err != nil {
		select {
		case denial := <-ended:
			return denial
		default:
			return err
		}
	}
	if sub != nil {
		defer sub.Stop()
	}
	return awaitHosts(ctx, moved, ended)
}

// awaitHosts waits for the end, and gives up where nothing comes any more.
func awaitHosts(ctx context.Context, moved <-chan struct{}, ended <-chan error) error {
	silence := time.NewTimer(hostsSilence)
	defer silence.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-moved:
			silence.Reset(hostsSilence)
		case <-silence.C:
			return fmt.Errorf("%w: the states of the hosts stopped coming %s ago", ErrUnavailable, hostsSilence)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// eachHost has fn called with the last state of every host, and end when that is all. Where there is none it returns nil.
func eachHost(ctx context.Context, nc *nats.Conn, site string, end func(error), fn func(HostState)) (jetstream.ConsumeContext, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	subject := "$KV." + HostsBucket + ".>"
	if site != "" {
		subject = "$KV." + HostsBucket + "." + site + ".>"
	}
	cons, err := js.OrderedConsumer(ctx, hostStateStream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: %w", ErrNoBucket, err)
	}
	if err != nil {
		return nil, followReason(err)
	}
	if info := cons.CachedInfo(); info == nil || info.NumPending == 0 {
		end(nil)
		return nil, nil
	}
	sub, err := cons.Consume(func(m jetstream.Msg) {
		meta, err := m.Metadata()
		if err != nil {
			end(fmt.Errorf("read the states of the hosts: %w", err))
			return
		}
		if len(m.Data()) > 0 { // else it says that a state was removed
			fn(HostState{At: meta.Timestamp, Body: m.Data()})
		}
		if meta.NumPending == 0 {
			end(nil)
		}
	}, jetstream.PullMaxMessages(hostsAtOnce))
	if err != nil {
		return nil, followReason(err)
	}
	return sub, nil
}
