package notify

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ctwarden/ctwarden/remediate"
)

// TestPassedAreTriedAgain has the server's limit raised while the connection stands: a minute later it is seen.
func TestPassedAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logged := observer.New(zap.ErrorLevel)
		p := &Publisher{opts: PublisherOptions{Log: zap.New(core)}}
		large := Outgoing{Seq: 7, ID: "large", Type: remediate.EventStepApplied, Body: make([]byte, 300)}
		p.pass(large, nats.ErrMaxPayload)
		st := p.Status()
		if want := "step.applied large (300 bytes): an event is larger than the server's max_payload and is passed over: nats: maximum payload exceeded"; st.Problem != ProblemTooLarge || st.Error != want {
			t.Errorf("got %s %q, want %q", st.Problem, st.Error, want)
		}
		if again := p.settle(); again != passFor {
			t.Errorf("tried again in %v, want %v", again, passFor)
		}
		time.Sleep(passFor - time.Second)
		p.tryPassed()
		if !p.isPassed(7) || p.isPassed(8) {
			t.Errorf("too early: passed over %v, another %v", p.isPassed(7), p.isPassed(8))
		}
		time.Sleep(2 * time.Second)
		p.tryPassed()
		if p.isPassed(7) {
			t.Error("not tried again")
		}
		p.pass(large, nats.ErrMaxPayload) // still too large
		if !p.isPassed(7) || p.settle() == 0 || logged.Len() != 1 {
			t.Errorf("passed over %v, logged %d times, want once", p.isPassed(7), logged.Len())
		}
		time.Sleep(passFor + time.Second)
		p.tryPassed()
		if again := p.settle(); again != 0 || p.Status().Error != "" {
			t.Errorf("it was taken, but the status says %q, to be tried again in %v", p.Status().Error, again)
		}
	})
}
