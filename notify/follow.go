package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Filter chooses events. Empty fields choose all.
type Filter struct {
	Site string
	Host string
	// Type is a whole name (step.applied) or its first part (step).
	Type string
	// Since is how far back to begin; 0: only what comes from now on.
	Since time.Duration
}

// Subject is the NATS subject that the filter stands for. It refuses what cannot be part of one.
func (f Filter) Subject() (string, error) {
	site, host, typ := "*", "*", ">"
	if f.Site != "" {
		if err := CheckSite(f.Site); err != nil {
			return "", err
		}
		site = f.Site
	}
	if f.Host != "" {
		host = HostToken(f.Host)
	}
	if f.Type != "" {
		for _, part := range strings.Split(f.Type, ".") {
			if part == "" || strings.IndexFunc(part, func(r rune) bool { return !isPlain(r) && r != '_' }) >= 0 {
				return "", fmt.Errorf("type %q is no event's; write one like step.applied, or step for all steps", f.Type)
			}
		}
		typ = f.Type
		if !strings.Contains(typ, ".") {
			typ += ".*"
		}
	}
	return SubjectPrefix + "." + site + "." + host + "." + typ, nil
}

// Events calls fn with the document of every event that the filter chooses, in the stream's order, until ctx is done
// (then it returns nil) or fn fails (then it returns fn's error). fn is called from one goroutine at a time and may
// block. Once begun it outlasts a server's restart and goes on where it was.
//
// Errors at the start: what [Dial.Check] finds, [ErrUnavailable], [ErrNoStream], or a permission that is missing.
func Events(ctx context.Context, d Dial, f Filter, fn func(raw []byte) error) error {
	subject, err := f.Subject()
	if err != nil {
		return err
	}
	if d.InboxPrefix == "" {
		d.InboxPrefix = OperatorInbox
	}
	// failed has room for one: the first error ends it all, later ones add nothing.
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	nc, err := d.Connect(nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if denial := Denied(err); denial != nil {
			fail(fmt.Errorf("%w: %w", ErrUnavailable, denial))
		}
	}))
	if err != nil {
		return err
	}
	defer nc.Close()
	sub, err := follow(ctx, nc, subject, f.Since, func(m jetstream.Msg) {
		if err := fn(m.Data()); err != nil {
			fail(err)
		}
	})
	if err != nil {
		select {
		case denial := <-failed:
			return denial
		default:
			return err
		}
	}
	defer sub.Stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// follow starts an ordered consumer, which the library makes anew behind the last message whenever it is lost.
func follow(ctx context.Context, nc *nats.Conn, subject string, since time.Duration, fn func(jetstream.Msg)) (jetstream.ConsumeContext, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverNewPolicy}
	if since > 0 {
		start := time.Now().Add(-since)
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	cons, err := js.OrderedConsumer(ctx, StreamName, cfg)
	if err != nil {
		return nil, followReason(err)
	}
	sub, err := cons.Consume(fn)
	if err != nil {
		return nil, followReason(err)
	}
	return sub, nil
}

func followReason(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w: %w", ErrNoStream, err)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled),
		errors.As(err, &api) && (api.ErrorCode == codeNotEnabled || api.ErrorCode == codeNotEnabledForAcct):
		return fmt.Errorf("%w: JetStream is off at the server or for this account: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: read the stream %s: %w", ErrUnavailable, StreamName, err)
}
