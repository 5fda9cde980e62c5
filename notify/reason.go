package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoStream says that the stream is missing at a server that was reached.
var ErrNoStream = errors.New("the stream " + StreamName + " is missing; create it with ctwarden-hub init --server URL")

// The codes of JetStream's errors that are told apart, from the server's errors.json.
const (
	codeStreamNotMatch     jetstream.ErrorCode = 10060
	codeStoreFailed        jetstream.ErrorCode = 10077
	codeMessageTooLarge    jetstream.ErrorCode = 10054
	codeNotEnabled         jetstream.ErrorCode = 10076
	codeNotEnabledForAcct  jetstream.ErrorCode = 10039
	codeResourcesExceeded  jetstream.ErrorCode = 10023
	codeAccountExceeded    jetstream.ErrorCode = 10002
	codeStorageExceeded    jetstream.ErrorCode = 10047
	codeStreamNotAvailable jetstream.ErrorCode = 10118
)

// unsendable tells an error that lies in the one event, so that it must not hold up those behind it.
func unsendable(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == codeMessageTooLarge
}

// reason puts an error of a publication into words for the operator, with what to do.
func reason(subject string, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		return apiReason(subject, api)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return because(ProblemNoStream, "no stream takes %s: JetStream is off or the stream is missing; "+
			"create it with ctwarden-hub init --server URL: %w", subject, err)
	case errors.Is(err, jetstream.ErrAsyncPublishTimeout), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return because(ProblemNoAnswer, "no acknowledgement for %s within %s: the server is slow or does not let this host publish there: %w",
			subject, ackTimeout, err)
	case errors.Is(err, nats.ErrMaxPayload):
		return because(ProblemTooLarge, "an event is larger than the server's max_payload and is passed over: %w", err)
	}
	return fmt.Errorf("publish %s: %w", subject, err)
}

func apiReason(subject string, api *jetstream.APIError) error {
	switch api.ErrorCode {
	case codeStreamNotMatch:
		return because(ProblemNoStream, "%s is taken by another stream than %s; remove the overlap: %w", subject, StreamName, api)
	case codeStoreFailed, codeResourcesExceeded, codeAccountExceeded, codeStorageExceeded:
		return because(ProblemFull, "the stream that takes %s is full or its disk is; raise its limits: %w", subject, api)
	case codeMessageTooLarge:
		return because(ProblemTooLarge, "an event is larger than the stream's max_msg_size and is passed over: %w", api)
	case codeNotEnabled, codeNotEnabledForAcct:
		return because(ProblemNoJetStream, "JetStream is off at the server or for this account; turn it on there: %w", api)
	case codeStreamNotAvailable:
		return because(ProblemNoAnswer, "the stream that takes %s is offline; see to its servers: %w", subject, api)
	}
	return fmt.Errorf("publish %s: %w", subject, api)
}

// Denied words a permissions violation, which NATS reports to the connection's error handler and not to the call that it
// answers, which only times out. It is nil for any other error.
func Denied(err error) error {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	// The text ends in: Permissions Violation for Publish to "subject" on connection [5]
	_, what, found := strings.Cut(err.Error(), "Permissions Violation for ")
	if !found {
		return because(ProblemForbidden, "%s", printable(err.Error()))
	}
	what, _, _ = strings.Cut(what, " on connection ")
	return because(ProblemForbidden, "the server's permissions forbid %s; allow it for these credentials", lowerFirst(printable(what)))
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
