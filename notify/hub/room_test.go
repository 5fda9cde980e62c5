package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testpager"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub/web"
)

func TestRoomFor(t *testing.T) {
	for _, c := range []struct {
		bytes  uint64
		most   int64
		full   bool
		spoken bool
	}{{0, 100, false, false}, {79, 100, false, false}, {80, 100, false, true}, {96, 100, false, true}, {97, 100, true, true}, {500, -1, false, false}, {5, 0, false, false}} {
		if r := roomFor(c.bytes, c.most); r.full != c.full || (r.problem != "") != c.spoken {
			t.Errorf("%d of %d: %+v", c.bytes, c.most, r)
		}
	}
}

// TestFullBucketIsNotSilence fills the bucket of host states: that is said, no host is called silent, and init with a larger
// size mends it. Setup without a size leaves it.
func TestFullBucketIsNotSilence(t *testing.T) {
	_, nc, js := newLab(t)
	if _, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 64 << 20, HostBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	h := startHub(t, "one", nc, Settings{Fleet: fleet.Config{GroupBy: []string{fleet.GroupBySite}, SilentAfter: time.Second}})
	leads(t, h)
	putState(t, nc, "gva", "a", stateOf("gva", "a", 5, nil))
	testhost.Eventually(t, "the state is read", func() bool { return h.hosts.current() > 0 })
	pad := bytes.Repeat([]byte(" "), 100<<10)
	var err error
	for i := 0; i < 100 && err == nil; i++ {
		body := append(stateOf("gva", fmt.Sprint("b", i), 5, nil), pad[:(100<<10)-i]...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = js.Publish(t.Context(), notify.HostStateSubject("gva", fmt.Sprint("b", i)), body)
	}
	if err == nil {
		t.Fatal("the bucket takes everything")
	}
	for size := 8 << 10; size > 0; size -= 1 << 10 { // what remains
		_, _ = js.Publish(t.Context(), notify.HostStateSubject("gva", fmt.Sprint("c", size)), pad[:size], jetstream.WithRetryAttempts(0))
	}
	testhost.Eventually(t, "it is said", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.room.problem != ""
	})
	if st := h.Status(); st.Problem == "" {
		t.Errorf("status %+v", st)
	}
	if changes, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 64 << 20}); err != nil || len(changes) != 0 {
		t.Errorf("without a size: %q, %v", changes, err)
	}
	if changes, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 64 << 20, HostBytes: 32 << 20}); err != nil || len(changes) != 1 {
		t.Errorf("with a size: %q, %v", changes, err)
	}
	testhost.Eventually(t, "there is room", func() bool { return h.Status().Problem == "" })
}

// TestBusyLeaderTakesNobodyForSilent has more states come in than the leader has room for while it is busy.
func TestBusyLeaderTakesNobodyForSilent(t *testing.T) {
	_, nc, _ := newLab(t)
	pager := testpager.Start(t)
	busy, gate := make(chan struct{}, 100), make(chan struct{})
	h := startHubWith(t, Options{Conn: nc, Name: "one", Version: "test", Settings: paging(pager), Fail: func(string) {
		busy <- struct{}{}
		<-gate
	}})
	leads(t, h)
	publish(t, nc, began("gva", "h0", 1))
	<-busy
	const hosts = 3000
	for i := range hosts {
		h.hostSeen(hostState{Site: "gva", Host: fmt.Sprint("h", i), Mode: "observe"}, time.Now())
	}
	close(gate)
	testhost.Eventually(t, "the fleet knows all hosts", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		n := 0
		for range h.fleet.All() {
			n++
		}
		return n == hosts
	})
}

// TestReadersShareACopy: however often the incidents are read, they are copied for a twentieth of the time at most.
func TestReadersShareACopy(t *testing.T) {
	var r readers
	copies, revision := 0, uint64(0)
	for range 100 {
		revision++
		r.all(&sync.Mutex{}, func() uint64 { return revision }, func() []fleet.Group {
			copies++
			pause(t.Context(), 2*time.Millisecond)
			return []fleet.Group{{ID: fmt.Sprint(revision)}}
		})
	}
	if copies > 20 {
		t.Errorf("%d copies for 100 readers", copies)
	}
	if got := r.shown(1000); got != r.revision {
		t.Errorf("revision %d is told of, and the copy is of %d", got, r.revision)
	}
	pause(t.Context(), 2*readShare*r.took)
	if got := r.shown(1000); got != 1000 {
		t.Errorf("revision %d is told of where another copy is due, want 1000", got)
	}
	if g := r.all(&sync.Mutex{}, func() uint64 { return 1000 }, func() []fleet.Group { return []fleet.Group{{ID: "new"}} }); g[0].ID != "new" {
		t.Errorf("got %+v", g)
	}
}

// TestReadersDoNotPayForTheLoop: a reader that had to wait for the loop may look again as soon as one that did not.
func TestReadersDoNotPayForTheLoop(t *testing.T) {
	const busy = 200 * time.Millisecond
	var loop sync.Mutex
	var r readers
	loop.Lock()
	time.AfterFunc(busy, loop.Unlock)
	r.all(&loop, func() uint64 { return 1 }, func() []fleet.Group { return nil })
	loop.Lock()
	time.AfterFunc(busy, loop.Unlock)
	if err := r.turns.look(t.Context(), &loop, func() {}); err != nil {
		t.Fatal(err)
	}
	if r.took > busy/2 || r.turns.cost > busy/2 {
		t.Errorf("a copy is taken to have cost %v, a look %v", r.took, r.turns.cost)
	}
}

// TestReadersTakeTurns: those who look at one incident leave the loop most of the time.
func TestReadersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line turns
		begun := time.Now()
		for range 3 {
			if err := line.look(t.Context(), &sync.Mutex{}, func() { time.Sleep(5 * time.Millisecond) }); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(begun); took < 2*readShare*5*time.Millisecond {
			t.Errorf("three looks of 5 ms took %v", took)
		}
	})
}

// TestReadersLeaveTheLine: a reader that has gone holds nobody up, and one that would wait for long is told so at once.
func TestReadersLeaveTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line turns
		slow := func() { time.Sleep(100 * time.Millisecond) } // a second between two, then
		if err := line.look(t.Context(), &sync.Mutex{}, slow); err != nil {
			t.Fatal(err)
		}
		gone, leave := context.WithCancel(t.Context())
		left := make(chan error, 3) // one of each
		for range 3 {
			go func() { left <- line.look(gone, &sync.Mutex{}, func() { t.Error("it looks after it has gone") }) }()
		}
		synctest.Wait()
		leave()
		begun := time.Now()
		for range 3 {
			if err := <-left; !errors.Is(err, context.Canceled) || time.Since(begun) > 0 {
				t.Errorf("one that has gone is told %v after %v", err, time.Since(begun))
			}
		}
		if err := line.look(t.Context(), &sync.Mutex{}, slow); err != nil || time.Since(begun) > 1100*time.Millisecond {
			t.Errorf("behind those that have gone one looks after %v: %v", time.Since(begun), err)
		}
		var waiting errgroup.Group
		refused := 0
		for range 20 {
			begun := time.Now()
			err := make(chan error, 1)
			go func() { err <- line.look(t.Context(), &sync.Mutex{}, slow) }()
			synctest.Wait()
			select {
			case got := <-err:
				if !errors.Is(got, web.ErrBusy) || time.Since(begun) > 0 {
					t.Errorf("told %v after %v", got, time.Since(begun))
				}
				refused++
			default:
				waiting.Go(func() error { return <-err })
			}
		}
		if refused < 14 || refused == 20 {
			t.Errorf("%d of 20 are told to come again", refused)
		}
		if err := waiting.Wait(); err != nil {
			t.Error(err)
		}
	})
}
