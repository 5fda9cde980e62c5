package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/notify"
)

// What the stream and the bucket are like. Setup makes them so.
const (
	// MaxAge is how long an event is kept.
	MaxAge = 30 * 24 * time.Hour
	// DedupWindow is how long the stream recognises an event that is published again.
	DedupWindow = 2 * time.Hour
	// HostTTL is how long a host's state lasts without a refresh; a host that is silent for longer is missing.
	HostTTL = 3 * time.Minute
	// Consumer is the durable consumer that all hubs share.
	Consumer = "hub"
	// hostBytes bounds the bucket of host states: 100,000 hosts of about 2.5 KB.
	hostBytes = 256 << 20
	// fleetBytes bounds the bucket of what the hubs know: 256 shards of less than 1 MiB, and the incidents of the fleet.
	fleetBytes = 512 << 20
	// commandAge is how long the journal of commands and answers goes back, and commandBytes bounds it.
	commandAge   = 90 * 24 * time.Hour
	commandBytes = 256 << 20
	// ackWait is how long the events of a hub that died wait for the next one; of one that ends they do not wait. A save
	// that takes longer has events delivered twice, which the fleet's state recognises.
	ackWait = 10 * time.Second
	// maxPending is how many events may be on their way to the leading hub: what it folds while one save is written and the
	// next collects.
	maxPending = 8 * maxBatch
)

// FleetBucket is the key-value bucket with what the hubs know and decided. Hosts have no part in it.
const FleetBucket = "CTWARDEN_FLEET"

// The codes of JetStream's refusals of more replicas than there are servers.
const (
	codeNotClustered jetstream.ErrorCode = 10074
	codeNoPeers      jetstream.ErrorCode = 10005
)

// SetupOptions are what the operator chooses.
type SetupOptions struct {
	// MaxBytes bounds the stream; beyond it the oldest events go. It must be positive.
	MaxBytes int64
	// HostBytes bounds the bucket of host states; 0 makes a new one for 100,000 hosts, and leaves the bound of an old one.
	HostBytes int64
	// Replicas is the number of copies; 0 makes a new stream with as many of 3 as there are servers, and leaves the
	// number of an old one.
	Replicas int
}

// Setup creates the streams, the buckets and the consumer, or changes them to what they should be, and returns one line
// for each change; none when all was so already. It needs the rights of an administrator of the account. Errors wrap
// [notify.ErrUnavailable] where JetStream does not answer or forbids it.
func Setup(ctx context.Context, nc *nats.Conn, o SetupOptions) (changes []string, err error) {
	if o.MaxBytes <= 0 {
		return nil, fmt.Errorf("the stream's byte limit is %d; give one, such as 10GiB", o.MaxBytes)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	for _, cfg := range []jetstream.StreamConfig{eventStream(o), hostStream(o), fleetStream(o), commandStream(o)} {
		change, err := ensureStream(ctx, js, cfg)
		if err != nil {
			return changes, unavailable("set up the stream "+cfg.Name, err)
		}
		changes = append(changes, change...)
	}
	change, err := ensureConsumer(ctx, js)
	if err != nil {
		return changes, unavailable("set up the consumer "+Consumer, err)
	}
	return append(changes, change...), nil
}

func eventStream(o SetupOptions) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: notify.StreamName, Description: "Events of ctwarden", Subjects: []string{notify.SubjectPrefix + ".>"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
		MaxAge: MaxAge, MaxBytes: o.MaxBytes, Duplicates: DedupWindow, Replicas: o.Replicas,
		DenyDelete: true, DenyPurge: true, // see the comment in guard.go
	}
}

// hostStream is the stream behind the key-value bucket, in the shape that NATS gives to one (ADR-8). It is made as a
// stream so that creating, comparing and changing are the same for both.
func hostStream(o SetupOptions) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: "KV_" + notify.HostsBucket, Description: "State of each host of ctwarden",
		Subjects:  []string{"$KV." + notify.HostsBucket + ".>"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		MaxAge: HostTTL, MaxBytes: o.HostBytes, MaxMsgsPerSubject: 1, Duplicates: 2 * time.Minute, Replicas: o.Replicas,
		// Without roll-ups: a host could empty the bucket by one.
		DenyDelete: true, DenyPurge: true, AllowDirect: true,
	}
}

// fleetStream is the stream behind the bucket of the fleet, in the same shape. The leader purges marks of deleted keys.
func fleetStream(o SetupOptions) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: "KV_" + FleetBucket, Description: "What the hubs of ctwarden know and decided",
		Subjects:  []string{guardedSubject()},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		MaxBytes: fleetBytes, MaxMsgsPerSubject: 1, Duplicates: 2 * time.Minute, Replicas: o.Replicas,
		DenyDelete: true, AllowDirect: true,
	}
}

// commandStream takes no part in delivery: commands and answers reach who is connected, and nobody waits for the journal.
func commandStream(o SetupOptions) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: notify.CommandsStream, Description: "Commands to the hosts of ctwarden, and their answers",
		Subjects:  []string{notify.CommandPrefix + ".>", notify.AnswerPrefix + ".>"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
		MaxAge: commandAge, MaxBytes: commandBytes, Duplicates: 2 * time.Minute, Replicas: o.Replicas, NoAck: true,
		DenyDelete: true, DenyPurge: true,
	}
}

func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) ([]string, error) {
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return createStream(ctx, js, want)
	}
	if err != nil {
		return nil, err
	}
	have := s.CachedInfo().Config
	if want.Replicas == 0 {
		want.Replicas = have.Replicas
	}
	if want.MaxBytes == 0 {
		want.MaxBytes = have.MaxBytes
	}
	if _, ok := guardedPrefix(have.Subjects); ok && want.Name == "KV_"+FleetBucket {
		want.Subjects = have.Subjects
	}
	diff := differences(have, want)
	if len(diff) == 0 {
		return nil, nil
	}
	// Everything that is not ours to decide stays as it was.
	if _, err := js.UpdateStream(ctx, merged(have, want)); err != nil {
		return nil, fmt.Errorf("change %s: %w", strings.Join(diff, ", "), err)
	}
	changes := []string{fmt.Sprintf("changed stream %s: %s", want.Name, strings.Join(diff, ", "))}
	if _, ok := guardedPrefix(have.Subjects); ok || want.Name != "KV_"+FleetBucket || s.CachedInfo().State.Msgs == 0 {
		return changes, nil
	}
	// Nobody would follow it, and it would fill the bucket for ever.
	if err := s.Purge(ctx); err != nil {
		return changes, fmt.Errorf("empty it of what hosts could have written: %w", err)
	}
	return append(changes, fmt.Sprintf("removed %d values of an older version from bucket %s, to which hosts could write: "+
		"incidents, silences and orders are learned anew", s.CachedInfo().State.Msgs, FleetBucket)), nil
}

// createStream tries 3, 2, 1 replicas where the number is left open: the servers know best how many there are.
func createStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) ([]string, error) {
	if want.MaxBytes == 0 {
		want.MaxBytes = hostBytes
	}
	tries := []int{want.Replicas}
	if want.Replicas == 0 {
		tries = []int{3, 2, 1}
	}
	var err error
	for _, want.Replicas = range tries {
		if _, err = js.CreateStream(ctx, want); err == nil {
			return []string{fmt.Sprintf("created stream %s: %s", want.Name, limits(want))}, nil
		}
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != codeNotClustered && api.ErrorCode != codeNoPeers {
			return nil, err
		}
	}
	return nil, err
}

func limits(c jetstream.StreamConfig) string {
	age := "none"
	if c.MaxAge > 0 {
		age = c.MaxAge.String()
	}
	return fmt.Sprintf("max age %s, max bytes %d, duplicates window %s, replicas %d", age, c.MaxBytes, c.Duplicates, c.Replicas)
}

// merged is have with what this package decides taken from want.
func merged(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	m := have
	m.Description, m.Subjects, m.Discard = want.Description, want.Subjects, want.Discard
	m.MaxAge, m.MaxBytes, m.MaxMsgsPerSubject = want.MaxAge, want.MaxBytes, max(want.MaxMsgsPerSubject, -1)
	if want.MaxMsgsPerSubject == 0 {
		m.MaxMsgsPerSubject = -1
	}
	m.Duplicates, m.Replicas = want.Duplicates, want.Replicas
	m.NoAck = want.NoAck
	m.AllowRollup, m.AllowDirect = want.AllowRollup, want.AllowDirect
	// What a stream denies it denies for good.
	m.DenyDelete, m.DenyPurge = have.DenyDelete || want.DenyDelete, have.DenyPurge || want.DenyPurge
	return m
}

// differences lists what merged would change, as "field old → new". Storage and retention cannot be changed and are left
// as they are.
func differences(have, want jetstream.StreamConfig) []string {
	var diff []string
	add := func(name string, same bool, old, new any) {
		if !same {
			diff = append(diff, fmt.Sprintf("%s %v → %v", name, old, new))
		}
	}
	m := merged(have, want)
	add("description", have.Description == m.Description, have.Description, m.Description)
	subjects := any(m.Subjects)
	if _, ok := guardedPrefix(m.Subjects); ok {
		subjects = "(hidden from hosts)"
	}
	add("subjects", slices.Equal(have.Subjects, m.Subjects), have.Subjects, subjects)
	add("discard", have.Discard == m.Discard, have.Discard, m.Discard)
	add("max age", have.MaxAge == m.MaxAge, have.MaxAge, m.MaxAge)
	add("max bytes", have.MaxBytes == m.MaxBytes, have.MaxBytes, m.MaxBytes)
	add("max messages per subject", have.MaxMsgsPerSubject == m.MaxMsgsPerSubject, have.MaxMsgsPerSubject, m.MaxMsgsPerSubject)
	add("duplicates window", have.Duplicates == m.Duplicates, have.Duplicates, m.Duplicates)
	add("replicas", have.Replicas == m.Replicas, have.Replicas, m.Replicas)
	add("no acknowledgement", have.NoAck == m.NoAck, have.NoAck, m.NoAck)
	add("roll-up", have.AllowRollup == m.AllowRollup, have.AllowRollup, m.AllowRollup)
	add("deny delete", have.DenyDelete == m.DenyDelete, have.DenyDelete, m.DenyDelete)
	add("deny purge", have.DenyPurge == m.DenyPurge, have.DenyPurge, m.DenyPurge)
	add("direct access", have.AllowDirect == m.AllowDirect, have.AllowDirect, m.AllowDirect)
	return diff
}

func ensureConsumer(ctx context.Context, js jetstream.JetStream) ([]string, error) {
	want := jetstream.ConsumerConfig{
		Durable: Consumer, Description: "The hubs of ctwarden", AckPolicy: jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverAllPolicy, AckWait: ackWait, MaxAckPending: maxPending,
	}
	c, err := js.Consumer(ctx, notify.StreamName, Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if _, err := js.CreateConsumer(ctx, notify.StreamName, want); err != nil {
			return nil, err
		}
		return []string{"created consumer " + Consumer + " of stream " + notify.StreamName}, nil
	}
	if err != nil {
		return nil, err
	}
	have := c.CachedInfo().Config
	if have.AckWait == want.AckWait && have.MaxAckPending == want.MaxAckPending && have.Description == want.Description {
		return nil, nil
	}
	have.AckWait, have.MaxAckPending, have.Description = want.AckWait, want.MaxAckPending, want.Description
	if _, err := js.UpdateConsumer(ctx, notify.StreamName, have); err != nil {
		return nil, err
	}
	return []string{"changed consumer " + Consumer + " of stream " + notify.StreamName}, nil
}

// unavailable says what JetStream's refusal means and what to do.
func unavailable(what string, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%s: %w: JetStream is off at the server or for this account; turn it on there: %w", what, notify.ErrUnavailable, err)
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%s: %w: nobody answers for JetStream; turn it on at the server: %w", what, notify.ErrUnavailable, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("%s: %w: no answer; JetStream is slow, without a leader, or these credentials lack the permission: %w",
			what, notify.ErrUnavailable, err)
	case errors.As(err, &api):
		return fmt.Errorf("%s: %w: %w", what, notify.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
