package agent

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestMetricsStrangersTakeNoPlace has an ordinary user hold more connections than there are places, and open each anew that
// is closed: who may read is answered every time.
func TestMetricsStrangersTakeNoPlace(t *testing.T) {
	testhost.NeedRoot(t)
	for _, c := range []struct{ name, say string }{
		{"silent", ""}, {"half a request", "GET /metrics HTTP/1.1\r\n"}, {"asking", "GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := serveMetrics(t, MetricsConfig{Listen: "127.0.0.1:0"}).Addr().String()
			const held, scrapes = maxConnections + 6, 20
			stop := testhost.Flood(t, netip.MustParseAddrPort(address), held, c.say)
			before := time.Now()
			// Some, and for long enough that a storm can come of it.
			for i := 0; i < scrapes || time.Since(before) < time.Second; i++ {
				if code, _ := getOnce(t, address); code != http.StatusOK {
					t.Fatalf("scrape %d got %d", i, code)
				}
			}
			took := time.Since(before)
			n := stop()
			if n < 2*held {
				t.Errorf("%d connections of %d held were opened, so that this was no storm", n, held)
			}
			t.Logf("%d connections opened in %v of scrapes", n, took)
		})
	}
}

// TestMetricsKeptIdle: a connection outlives a scraper's interval of a minute, and not for ever.
func TestMetricsKeptIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		close(ready)
		m := &Metrics{cfg: MetricsConfig{Status: statusFunc(busyStatus()), Ready: ready, Log: zap.NewNop()}}
		srv := m.server()
		ours, theirs := net.Pipe()
		l := &oneConn{conn: &boundedConn{Conn: theirs, who: &peer{}, leave: func() {}}, closed: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- srv.Serve(l) }()
		defer func() {
			if err := srv.Close(); err != nil {
				t.Error(err)
			}
			<-done
		}()
		answers := bufio.NewReader(ours)
		for _, idle := range []time.Duration{0, time.Minute, 61 * time.Second, 5*time.Minute - time.Second} {
			elapse(idle)
			if _, err := io.WriteString(ours, "GET /healthz HTTP/1.1\r\nHost: agent\r\n\r\n"); err != nil {
				t.Fatalf("after %v idle: %v", idle, err)
			}
			resp, err := http.ReadResponse(answers, nil)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("after %v idle: %v, %v", idle, resp, err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
		}
		last := time.Now()
		if _, err := answers.ReadByte(); err != io.EOF || time.Since(last) != 5*time.Minute {
			t.Errorf("an idle connection ended after %v with %v", time.Since(last), err)
		}
	})
}

// oneConn is a listener with one connection to accept.
type oneConn struct {
	conn   net.Conn
	taken  atomic.Bool
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.taken.Swap(true) {
		return l.conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// TestMetricsLikely: whose connection gets a reader's place.
func TestMetricsLikely(t *testing.T) {
	group := &membership{look: func(uid uint32) bool { return uid == 1005 }, known: map[uint32]member{}}
	grouped := access{own: 990, group: "g", gid: 50}
	tcp := metricsAccess{access: grouped, tcp: true, users: []uint32{1001}}
	for _, c := range []struct {
		name string
		who  metricsAccess
		peer peer
		want bool
	}{
		{"root", tcp, peer{gid: noGroup}, true},
		{"the agent's user", tcp, peer{uid: 990, gid: noGroup}, true},
		{"a named user", tcp, peer{uid: 1001, gid: noGroup}, true},
		{"a member of the group", tcp, peer{uid: 1005, gid: noGroup}, true},
		{"another user", tcp, peer{uid: 1002, gid: noGroup}, false},
		{"a member where no group may", metricsAccess{access: access{own: 990, gid: -1}, tcp: true}, peer{uid: 1005, gid: noGroup}, false},
		{"another host", tcp, peer{elsewhere: true, gid: noGroup}, true},
		{"nobody that the kernel names", tcp, peer{err: io.EOF, gid: noGroup}, false},
		{"nobody that the kernel names where every user may", metricsAccess{tcp: true, every: true}, peer{err: io.EOF}, true},
		{"the group on a unix socket", metricsAccess{access: grouped}, peer{uid: 1002, gid: 50}, true},
		{"a named user on a unix socket", metricsAccess{access: grouped, users: []uint32{1001}}, peer{uid: 1001, gid: 1001}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			may := c.who.likely(group)
			may(c.peer) // has it looked up
			testhost.Eventually(t, "the look-up is through", func() bool { return !group.lookingUp() })
			if got := may(c.peer); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func (m *membership) lookingUp() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.busy
}

// TestMembership: nobody waits for a look-up, the last answer holds until the next, and what is kept is bounded.
func TestMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		var in atomic.Bool
		in.Store(true)
		m := &membership{known: map[uint32]member{}, look: func(uid uint32) bool {
			<-time.After(10 * time.Second)
			looks.Add(1)
			return in.Load() && uid == 1
		}}
		want := func(when string, is bool, n int64) {
			t.Helper()
			if got := m.has(1); got != is || looks.Load() != n {
				t.Errorf("%s: %v after %d look-ups, want %v after %d", when, got, looks.Load(), is, n)
			}
		}
		want("before the first", false, 0)
		want("meanwhile", false, 0)
		elapse(11 * time.Second)
		want("known", true, 1)
		in.Store(false)
		elapse(membershipFor)
		want("a minute later, which asks again", true, 1)
		elapse(11 * time.Second)
		want("told otherwise", false, 2)
		in.Store(true)
		elapse(membershipFor)
		want("a minute later", false, 2)
		elapse(11 * time.Second)
		for uid := range uint32(membershipMost + 10) {
			m.has(100 + uid)
			elapse(11 * time.Second)
			m.has(1)
			elapse(11 * time.Second)
		}
		if len(m.known) > membershipMost || !m.has(1) {
			t.Errorf("%d are known; the member is: %v", len(m.known), m.has(1))
		}
	})
}

// TestGatedListener: the others have few places of their own, and their storm is slowed, which ends with ctx.
func TestGatedListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conns := make(chan net.Conn)
		ctx, cancel := context.WithCancel(t.Context())
		reader := false
		l := gated(ctx, &chanListener{conns}, func(peer) bool { return reader })
		next := func() (accepted bool) {
			ours, theirs := net.Pipe()
			t.Cleanup(func() { ours.Close() })
			select {
			case conns <- theirs:
			case <-t.Context().Done():
			}
			_ = ours.SetReadDeadline(time.Now().Add(time.Millisecond / 2))
			_, err := ours.Read(make([]byte, 1))
			return err != io.EOF
		}
		go func() {
			for {
				if _, err := l.Accept(); err != nil {
					return
				}
			}
		}()
		count := func(n int) (taken int) {
			for range n {
				if next() {
					taken++
				}
				synctest.Wait()
			}
			return taken
		}
		if n := count(50); n != strangerPlaces {
			t.Errorf("%d strangers have a place, want %d", n, strangerPlaces)
		}
		before := time.Now()
		count(10 * strangerRate)
		if took := time.Since(before); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("as many strangers as may come in 10 s took %v", took)
		}
		reader = true
		if n := count(100); n != maxConnections {
			t.Errorf("%d readers have a place, want %d", n, maxConnections)
		}
		cancel()
		close(conns)
		synctest.Wait()
	})
}

// chanListener accepts what is sent to it until the channel is closed.
type chanListener struct{ conns chan net.Conn }

func (l *chanListener) Accept() (net.Conn, error) {
	if conn, ok := <-l.conns; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (l *chanListener) Close() error   { return nil }
func (l *chanListener) Addr() net.Addr { return &net.TCPAddr{} }
