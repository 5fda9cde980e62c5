package notify

import (
	"fmt"
	"time"

	"go.uber.org/zap"
)

func (p *Publisher) isPassed(seq uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed[seq]
}

// pass notes that the server does not take an event.
func (p *Publisher) pass(ev Outgoing, err error) {
	err = fmt.Errorf("%s %s (%d bytes): %w", ev.Type, ev.ID, len(ev.Body), reason(ev.Subject, err))
	p.mu.Lock()
	if p.passed == nil {
		p.passed = map[uint64]bool{}
	}
	_, told := p.passed[ev.Seq]
	p.passed[ev.Seq], p.large = true, err
	if now := time.Now(); now.After(p.passedUntil) {
		p.passedUntil = now.Add(passFor)
	}
	told = told || len(p.passed) > mostReasons
	p.mu.Unlock()
	if !told {
		p.opts.Log.Error("event_passed_over", zap.String("problem", string(ProblemOf(err))), zap.Error(err))
	}
}

// tryPassed lets the events be tried again whose time has come: the server's limits can be raised while the connection
// stands.
func (p *Publisher) tryPassed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.passedUntil) {
		return
	}
	for seq := range p.passed {
		p.passed[seq] = false
	}
}

// settle ends what was said of events passed over where none is left, and tells when those that are left can be tried
// again; 0: there are none.
func (p *Publisher) settle() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, still := range p.passed {
		if still {
			return max(time.Until(p.passedUntil), time.Millisecond)
		}
	}
	p.large, p.passed = nil, nil
	return 0
}
