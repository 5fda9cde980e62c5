package watcher

import (
	"context"
	"time"
)

const (
	// pollEvery is how often a file or journal is looked at while something comes, and where nothing tells of that: a line
	// is delivered half of it late at the mean.
	pollEvery = 100 * time.Millisecond
	// quietAfter is how long nothing may have come before the next look waits for a [bell].
	quietAfter = 500 * time.Millisecond
	// calmAfter is how long the looks go on at least every calmLook, after something came or the bell rang: how fast a file
	// was written to before it was truncated is told by them. Then it is looked at with each sign of life alone, should a
	// bell ever not ring.
	calmAfter = 5 * time.Second
	calmLook  = 2 * time.Second
	// lookSlack is how near the moment of a look may be for the next one to be meant.
	lookSlack = 20 * time.Millisecond
	// bellAgain is how long the looks go on without a bell where none could be had.
	bellAgain = time.Minute
)

// pace tells when to look next: [pollEvery] while something comes, and then when the bell rings. It belongs to one
// goroutine; whoever has it closes it.
type pace struct {
	on      func() watched                                   // what matters now
	doze    func(ctx context.Context, d time.Duration) error // waits for d while something comes, or less
	bell    *bell                                            // nil: something came a short while ago, or none could be had
	every   time.Duration                                    // how often what is quiet is looked at all the same
	stirred time.Time                                        // when something came last
	woken   time.Time                                        // when the bell rang last
	failed  time.Time                                        // when a bell could not be had
	rang    bool                                             // the bell had this look taken
}

func newPace(on func() watched, every time.Duration) *pace {
	return &pace{on: on, doze: sleep, every: every, stirred: time.Now()}
}

// wait waits until it is time for the next look, at most for d. came tells that the last look found something. It fails
// only when ctx is done.
func (p *pace) wait(ctx context.Context, came bool, d time.Duration) error {
	now := time.Now()
	if came {
		p.stirred = now
		p.close()
	}
	if p.bell == nil {
		p.rang = false
		if now.Sub(p.stirred) >= quietAfter && now.Sub(p.failed) >= bellAgain {
			p.hangUp(now) // and one more look: what came before does not ring it
		}
		return p.doze(ctx, min(d, pollEvery))
	}
	if p.rang { // somebody may create and remove files without end where it hangs
		if err := p.doze(ctx, min(d, pollEvery)); err != nil {
			return err
		}
	}
	rang, err := p.bell.wait(ctx, min(max(0, d-time.Since(now)), untilLook(p.look(now))))
	p.rang = rang
	switch {
	case err != nil && ctx.Err() == nil:
		p.close()
		p.failed = now
		return nil
	case p.bell.worn:
		p.stirred = time.Now()
		p.close()
		p.rang = true
	case rang:
		p.woken = time.Now()
	}
	return err
}

// look is how often to look now although no bell rings.
func (p *pace) look(now time.Time) time.Duration {
	if now.Sub(p.stirred) < calmAfter || now.Sub(p.woken) < calmAfter {
		return min(calmLook, p.every)
	}
	return p.every
}

func (p *pace) hangUp(now time.Time) {
	var err error
	if p.bell, err = hangUp(p.on()); err != nil {
		p.failed = now
	}
}

func (p *pace) close() {
	if p.bell != nil {
		p.bell.close()
		p.bell, p.rang = nil, false
	}
}

// untilLook is how long it is to the next moment at which everything that looks so often does. All look at the same
// moments, since each moment of its own wakes the processor up.
func untilLook(every time.Duration) time.Duration {
	return every - (sinceBoot()+lookSlack)%every + lookSlack
}
