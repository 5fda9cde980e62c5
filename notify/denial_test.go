package notify

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestDenialsAreTold: a refusal is logged once, and again where it comes back after events got through; that of another
// subject, such as the host's state, is not over because events get through.
func TestDenialsAreTold(t *testing.T) {
	for subject, want := range map[string]int{
		SubjectPrefix + ".lab.hv1.limit.changed": 3,
		HostStateSubject("lab", "hv1"):           1,
	} {
		core, logs := observer.New(zap.InfoLevel)
		p := &Publisher{opts: PublisherOptions{Log: zap.New(core)}, denials: map[string]error{}}
		for range 3 {
			for range 2 {
				p.failed(fmt.Errorf("%w: Permissions Violation for Publish to %q", nats.ErrPermissionViolation, subject))
			}
			if got := ProblemOf(p.explain(subject, jetstream.ErrAsyncPublishTimeout)); got != ProblemForbidden {
				t.Errorf("%s: explained as %s", subject, got)
			}
			p.note(nil)
		}
		if got := logs.FilterMessage("nats_permission_denied").Len(); got != want {
			t.Errorf("%s: logged %d times, want %d", subject, got, want)
		}
	}
}
