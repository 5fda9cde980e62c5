package persist

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// requestWithin bounds how long whoever connects may take to say what is asked for.
const requestWithin = 2 * time.Second

// answerWithin bounds how long it may take to hear what became of it.
const answerWithin = time.Second

// Stages at which [Helper.Fail] is called, beside those of package apply.
const (
	StageRequest = "request" // it is read, and nothing is done
	StageAnswer  = "answer"  // all is done, and not answered
)

// Helper is root's end: it carries out one request.
type Helper struct {
	// Applier writes the files and reads the kernel's values. It belongs to the helper meanwhile.
	Applier *apply.Applier
	// Policy is what root's configuration allows.
	Policy remediate.Policy
	// Host bounds what may be asked for.
	Host Host
	// Dir is a directory of root's own, for a lock against other helpers; empty: there are none.
	Dir string
	// Users may ask, by number.
	Users []uint32
	// Fail is called at the stages. It is nil but in tests, which stop the program there.
	Fail   func(stage string)
	within time.Duration // 0: requestWithin
}

// Serve reads one request, does what is asked where everything about it is right, and answers. It returns a line that
// says what came of it, for the log, and an error where that is not what was asked: a [*Refusal] that the other end has
// been told, where it still listens. It does not close conn.
func (h Helper) Serve(conn *net.UnixConn) (done string, err error) {
	uid, err := peerUID(conn)
	if err != nil {
		return "", fmt.Errorf("find out who asks: %w", err)
	}
	done, a, err := h.serve(conn, uid)
	if err != nil {
		var known *Refusal
		if !errors.As(err, &known) {
			known = refuse(CodeFailed, "%v", err)
		}
		a = answer{Refusal: known}
	}
	h.at(StageAnswer)
	return done, errors.Join(err, reply(conn, a))
}

// Decline answers that nothing can be done at all, and returns err.
func Decline(conn *net.UnixConn, err error) error {
	return errors.Join(err, reply(conn, answer{Refusal: refuse(CodeFailed, "ctwarden-persist: %v", err)}))
}

func (h Helper) serve(conn *net.UnixConn, uid uint32) (done string, a answer, err error) {
	if !slices.Contains(h.Users, uid) {
		return "", a, refuse(CodePeer, "user %d may not ask ctwarden-persist", uid)
	}
	line, err := h.readLine(conn)
	if err != nil {
		return "", a, err
	}
	r, err := parseRequest(line)
	if err != nil {
		return "", a, err
	}
	h.at(StageRequest)
	unlock, err := lock(h.Dir)
	if err != nil {
		return "", a, err
	}
	defer unlock()
	wanted := func() error { return stillThere(conn) }
	if err := wanted(); err != nil {
		return "", a, err
	}
	h.Applier.OnlyWhile(wanted)
	if r.Do == doWithdraw {
		removed, err := h.Applier.Unpersist()
		return fmt.Sprintf("user %d: the persisted limit is withdrawn (there was one: %v)", uid, removed),
			answer{Withdrawal: &withdrawal{Removed: removed}}, err
	}
	p, err := h.persist(r)
	return fmt.Sprintf("user %d: limit %d persisted in %s (step %s, %s)", uid, p.Max, p.Path, r.Step, r.Reason), answer{Persistence: &p}, err
}

// at is where a test may stop the program.
func (h Helper) at(stage string) {
	if h.Fail != nil {
		h.Fail(stage)
	}
}

// readLine reads a line that is not too long and comes in time.
func (h Helper) readLine(conn *net.UnixConn) ([]byte, error) {
	within := h.within
	if within == 0 {
		within = requestWithin
	}
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadBytes('\n')
	switch {
	case err == nil:
		return line, nil
	case len(line) == maxRequest:
		return nil, refuse(CodeRequest, "longer than %d bytes", maxRequest)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refuse(CodeRequest, "no whole line within %v", within)
	default:
		return nil, refuse(CodeRequest, "no whole line: %v", err)
	}
}

// persist checks a request against the kernel and the configuration, and carries it out.
func (h Helper) persist(r request) (apply.Persistence, error) {
	if h.isInTheWay(r) {
		_, err := h.Applier.Unpersist()
		return apply.Persistence{Max: r.To, Withdrawn: &apply.Withdrawn{By: h.Host.BootBy, Value: h.Host.Boot}}, err
	}
	if err := h.mayPersist(r); err != nil {
		return apply.Persistence{}, err
	}
	buckets, err := h.Applier.InForce(r.To)
	if errors.Is(err, apply.ErrChanged) {
		return apply.Persistence{}, refuse(CodeChanged, "%v", err)
	}
	if err != nil {
		return apply.Persistence{}, err
	}
	meta := apply.PersistMeta{}
	if r.Hash {
		meta.Buckets = h.Host.hash(h.Policy, buckets)
	}
	return h.Applier.Persist(r.step(), meta)
}

// isInTheWay tells whether our file is to go rather than to follow a limit below what the next boot brings without it: it
// has less than that too, or the limit is taken back.
func (h Helper) isInTheWay(r request) bool {
	had, there, err := h.Applier.Persisted()
	return err == nil && there && r.To < h.Host.Boot && (had.Max < h.Host.Boot || r.To < r.From)
}

// mayPersist looks at what is allowed. Our file may always be taken back to less than it has, but not to less than the
// host would have without it. Whether automatic writes are held is for the agent to look at: the hold is a file of the
// agent's own.
func (h Helper) mayPersist(r request) error {
	if err := h.Host.within(r.To); err != nil {
		return err
	}
	had, there, err := h.Applier.Persisted()
	if err == nil && there && r.To <= had.Max {
		return nil
	}
	switch p := h.Policy; {
	case r.To > p.Ceiling:
		return refuse(CodeCeiling, "%d is above remediate.ceiling (%d)", r.To, p.Ceiling)
	case !p.Persist:
		return refuse(CodeOff, "remediate.persist is false")
	case p.Mode != remediate.ModeRemediate && r.Reason != remediate.ReasonManual:
		return refuse(CodeMode, "%s", remediate.ReasonObserveMode.Text())
	}
	return h.Host.affords(h.Policy, r.To)
}

// reply sends the answer.
func reply(conn *net.UnixConn, a answer) error {
	line, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if err := conn.SetWriteDeadline(time.Now().Add(answerWithin)); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// stillThere refuses what nobody waits for any more: an agent that was killed asks again when it is back, and may then
// want something else; one that has waited too long has told that nothing came of it.
func stillThere(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer [1]unix.PollFd
	var pollErr error
	if err := raw.Control(func(fd uintptr) {
		peer[0] = unix.PollFd{Fd: int32(fd)}
		// A peer that is gone shows without being asked for.
		for pollErr = unix.EINTR; errors.Is(pollErr, unix.EINTR); { // by the runtime's signals
			_, pollErr = unix.Poll(peer[:], 0)
		}
	}); err != nil {
		return err
	}
	if pollErr != nil {
		return fmt.Errorf("look whether whoever asked is still there: %w", pollErr)
	}
	if peer[0].Revents != 0 {
		return refuse(CodeGone, "whoever asked is gone, and is not waited for")
	}
	return nil
}

// peerUID is who is at the other end, by the kernel's word.
func peerUID(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return cred.Uid, nil
}
