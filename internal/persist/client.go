package persist

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// DefaultSocket is where the unit ctwarden-persist.socket listens.
const DefaultSocket = "/run/ctwarden-persist.sock"

// askWithin bounds a whole request, from the connection to the answer.
const askWithin = 5 * time.Second

// Client asks the helper. It does what the methods of [apply.Applier] of the same names do, and may be used by several
// goroutines. A call takes five seconds at most.
type Client struct {
	socket string
	within time.Duration
}

// NewClient asks at a unix socket.
func NewClient(socket string) Client { return Client{socket: socket, within: askWithin} }

// There tells whether there is a socket to ask at.
func (c Client) There() bool {
	info, err := os.Lstat(c.socket)
	return err == nil && info.Mode().Type() == fs.ModeSocket
}

// Persist has the limit of a step last. The size of the hash is the helper's to find out, where m has one at all. An
// error of the helper's is a [*Refusal].
func (c Client) Persist(s remediate.Step, m apply.PersistMeta) (apply.Persistence, error) {
	a, err := c.ask(request{
		Do: doPersist, From: s.From, To: s.To, Hash: m.Buckets > 0, Reason: s.Reason, Step: s.ID, Incident: s.IncidentID,
	})
	if err == nil && a.Persistence == nil {
		err = errAnswer
	}
	if err != nil {
		return apply.Persistence{}, fmt.Errorf("persist %d: %w", s.To, err)
	}
	return *a.Persistence, nil
}

// Unpersist has the file removed, and tells whether there was one.
func (c Client) Unpersist() (bool, error) {
	a, err := c.ask(request{Do: doWithdraw})
	if err == nil && a.Withdrawal == nil {
		err = errAnswer
	}
	if err != nil {
		return false, fmt.Errorf("remove the persisted limit: %w", err)
	}
	return a.Withdrawal.Removed, nil
}

// ErrNoAnswer is a helper that hung up without an answer: it may have done what was asked. Either request may be made
// again, to the same end.
var ErrNoAnswer = errors.New("no answer from ctwarden-persist, which hung up")

// errAnswer is an answer to something else, or none of the helper's.
var errAnswer = errors.New("the answer of ctwarden-persist is not understood: is it of another version?")

// ask makes one request.
func (c Client) ask(r request) (answer, error) {
	deadline := time.Now().Add(c.within)
	conn, err := (&net.Dialer{Deadline: deadline}).Dial("unix", c.socket)
	if err != nil {
		return answer{}, fmt.Errorf("ask ctwarden-persist: %w; see systemctl status ctwarden-persist.socket", err)
	}
	defer conn.Close()
	line, err := json.Marshal(r)
	if err != nil {
		return answer{}, fmt.Errorf("ask ctwarden-persist: %w", err)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return answer{}, fmt.Errorf("ask ctwarden-persist: %w", err)
	}
	// It may have refused whoever asks without reading on: what it says counts, not that it hung up.
	_, writeErr := conn.Write(append(line, '\n'))
	text, err := bufio.NewReader(io.LimitReader(conn, maxAnswer)).ReadBytes('\n')
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return answer{}, fmt.Errorf("no answer from ctwarden-persist: %w; see journalctl -u 'ctwarden-persist@*'", errors.Join(writeErr, err))
	case err != nil:
		return answer{}, fmt.Errorf("%w: %w; see journalctl -u 'ctwarden-persist@*'", ErrNoAnswer, errors.Join(writeErr, err))
	}
	var a answer
	if err := strict(text, &a); err != nil {
		return answer{}, errAnswer
	}
	if a.Refusal != nil {
		return answer{}, a.Refusal
	}
	return a, nil
}
