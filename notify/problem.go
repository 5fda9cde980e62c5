package notify

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
)

// Problem is a fixed word for what keeps events from getting through, the same in the status, the metrics and the log.
type Problem string

// The problems.
const (
	// ProblemUnreachable: nothing answers at the servers' addresses.
	ProblemUnreachable Problem = "unreachable"
	// ProblemName: a server's name does not resolve.
	ProblemName Problem = "name"
	// ProblemTLS: the two sides do not agree on TLS or on a certificate.
	ProblemTLS Problem = "tls"
	// ProblemCredentials: the server does not let us in.
	ProblemCredentials Problem = "credentials"
	// ProblemFile: a file that the connection needs cannot be used.
	ProblemFile Problem = "file"
	// ProblemClosed: the connection that stood was closed.
	ProblemClosed Problem = "closed"
	// ProblemNoAnswer: the server takes events and does not acknowledge them.
	ProblemNoAnswer Problem = "no_answer"
	// ProblemForbidden: the server's permissions forbid to publish.
	ProblemForbidden Problem = "forbidden"
	// ProblemNoStream: no stream takes the events.
	ProblemNoStream Problem = "no_stream"
	// ProblemNoJetStream: JetStream is off.
	ProblemNoJetStream Problem = "no_jetstream"
	// ProblemFull: the stream or its disk is full.
	ProblemFull Problem = "full"
	// ProblemTooLarge: an event is larger than the server takes.
	ProblemTooLarge Problem = "too_large"
	// ProblemOther: any other, which the text tells.
	ProblemOther Problem = "other"
)

// problemError is an error with its word.
type problemError struct {
	problem Problem
	err     error
}

func (e *problemError) Error() string { return e.err.Error() }
func (e *problemError) Unwrap() error { return e.err }

// because makes an error with its word.
func because(p Problem, format string, args ...any) error {
	return &problemError{p, fmt.Errorf(format, args...)}
}

// ProblemOf is the word for an error of this package's; "" for none.
func ProblemOf(err error) Problem {
	var known *problemError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &known):
		return known.problem
	}
	return ProblemOther
}

// connectReason puts an error of an attempt to connect, or of a connection, into words for the operator, with what to do.
func (d Dial) connectReason(err error) error {
	var dns *net.DNSError
	var path *fs.PathError
	var timeout net.Error
	switch {
	case ProblemOf(err) != ProblemOther:
		return err
	case errors.As(err, &dns):
		return because(ProblemName, "the name %s does not resolve; see to it or to nats.servers: %w", dns.Name, err)
	case isTLS(err):
		return because(ProblemTLS, "TLS does not come about; see to the certificates, nats.tls and the clock: %w", err)
	case isRefusal(err):
		return notLetIn(d.credentialsState(), err)
	case errors.As(err, &path):
		return because(ProblemFile, "a file that the connection needs cannot be used: %w", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return because(ProblemUnreachable, "nothing listens there; start the server or correct nats.servers: %w", err)
	case errors.Is(err, nats.ErrTimeout), errors.As(err, &timeout) && timeout.Timeout():
		return because(ProblemUnreachable, "no answer within %s: the server or the way there is down, "+
			"or a full conntrack table drops new connections: %w", dialTimeout, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, nats.ErrStaleConnection):
		return because(ProblemClosed, "the server or the network closed the connection: %w", err)
	case errors.As(err, &timeout):
		return because(ProblemUnreachable, "no way there; see to the network, the firewall or nats.servers: %w", err)
	}
	return err
}

// isTLS tells errors of the handshake, on this side or reported by the other.
func isTLS(err error) bool {
	var (
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		ca     x509.UnknownAuthorityError
		bad    x509.CertificateInvalidError
		host   x509.HostnameError
	)
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &ca) || errors.As(err, &bad) || errors.As(err, &host) ||
		errors.Is(err, nats.ErrSecureConnWanted) || errors.Is(err, nats.ErrSecureConnRequired) || strings.Contains(err.Error(), "tls: ")
}

// isRefusal tells the server's words at a connection that it does not let in, or no longer.
func isRefusal(err error) bool {
	for _, refusal := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "authorization violation") || strings.Contains(text, "authentication ")
}
