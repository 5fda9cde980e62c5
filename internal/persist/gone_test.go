package persist

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate/apply"
)

// TestGone has an agent ask and be gone before the helper is at work, or before that has put the file in place or removed
// it, as where it is slow and is not waited for any more: nothing is done.
func TestGone(t *testing.T) {
	const ask, withdraw = `{"do":"persist","from":65536,"to":131072,"reason":"full","step":"s"}`, `{"do":"withdraw"}`
	for name, tt := range map[string]struct{ line, stage string }{
		"persist":              {ask, StageRequest},
		"persist, at the end":  {ask, apply.StageBeforePersist},
		"withdraw":             {withdraw, StageRequest},
		"withdraw, at the end": {withdraw, apply.StageBeforeWithdraw},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.plant(t, moduleFile, "# ctwarden-module: 1\n")
			h.plant(t, sysctlFile, "# ctwarden-persisted: 1\n# machine id: m\nnet.netfilter.nf_conntrack_max = 65536\nnet.nf_conntrack_max = 65536\n")
			before := h.tree(t)
			conn, agent := pair(t)
			h.helper.Fail = func(stage string) {
				if stage == tt.stage {
					agent.Close()
				}
			}
			if _, err := agent.Write([]byte(tt.line + "\n")); err != nil {
				t.Fatal(err)
			}
			_, err := h.helper.Serve(conn)
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Code != CodeGone {
				t.Errorf("%v, want the code %s", err, CodeGone)
			}
			if after := h.tree(t); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

// TestThereAmidSignals has the runtime's signals arrive while it is looked whether the agent is still there.
func TestThereAmidSignals(t *testing.T) {
	helper, _ := pair(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	done, ended := make(chan struct{}), make(chan error) // closed, and sent to, once
	go func() {
		for {
			select {
			case <-done:
				ended <- nil
				return
			default:
			}
			if err := unix.Tgkill(unix.Getpid(), thread, unix.SIGURG); err != nil {
				ended <- err
				return
			}
		}
	}()
	for range 300_000 {
		if err := stillThere(helper); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// pair is a connection's two ends.
func pair(t *testing.T) (helper, agent *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		conn, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = conn.(*net.UnixConn)
		t.Cleanup(func() { conn.Close() })
	}
	return ends[0], ends[1]
}

// TestNoAnswer tells a helper that hung up, which may be asked again, from one that is silent.
func TestNoAnswer(t *testing.T) {
	h := newHost(t)
	h.helper.Fail = func(stage string) {
		if stage == StageAnswer {
			panic(errKilled)
		}
	}
	c, gone := h.listenKilled(t)
	if _, err := c.Persist(step, apply.PersistMeta{}); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("%v, want %v", err, ErrNoAnswer)
	}
	gone()
	h.helper.Fail = nil
	if p, err := h.listen(t).Persist(step, apply.PersistMeta{}); err != nil || !p.Kept || p.Max != step.To {
		t.Errorf("again: %+v, %v", p, err)
	}
}

var errKilled = errors.New("killed")

// listenKilled is listen with a helper that is killed in its one request, and what awaits its end.
func (h *host) listenKilled(t *testing.T) (Client, func()) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "k"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan any, 1) // what the helper ended with
	go func() {
		conn, err := l.AcceptUnix()
		if err != nil {
			ended <- err
			return
		}
		defer conn.Close()
		defer func() { ended <- recover() }()
		_, err = h.helper.Serve(conn)
		panic(err)
	}()
	gone := sync.OnceFunc(func() {
		l.Close()
		if got := <-ended; got != errKilled {
			t.Errorf("the helper ended with %v", got)
		}
	})
	t.Cleanup(gone)
	return NewClient(l.Addr().String()), gone
}
