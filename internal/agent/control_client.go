package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// What a [Client] may find in the agent's place.
var (
	// ErrNotRunning says that no agent answers on the socket.
	ErrNotRunning = errors.New("the agent is not running")
	// ErrNotPermitted says that this user may not ask the agent.
	ErrNotPermitted = errors.New("not permitted")
	// ErrNoAnswer says that an agent is there but did not answer in time or could not deal with the order.
	ErrNoAnswer = errors.New("the agent did not answer")
)

const (
	// maxAnswer bounds what is read of an answer: a status with some ten thousand namespaces.
	maxAnswer = 64 << 20
	// answerWithin bounds one request where the caller's context has no deadline.
	answerWithin = 15 * time.Second
)

// Client asks a running agent over its control socket. It may be used from several goroutines.
type Client struct {
	path string
	http *http.Client
}

// NewClient is a client of the agent whose control socket is at path. It does not connect yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", path)
	}
	// One connection a request: the agent must not wait for idle clients when it stops.
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status asks for the agent's state. The errors are [ErrNotRunning], [ErrNotPermitted] and [ErrNoAnswer].
func (c *Client) Status(ctx context.Context) (Status, error) {
	var st Status
	code, body, err := c.ask(ctx, http.MethodGet, "status", nil)
	if err != nil {
		return st, err
	}
	if code != http.StatusOK {
		return st, c.failure(code, body)
	}
	if err := json.Unmarshal(body, &st); err != nil {
		return st, fmt.Errorf("%w: its status is not understood: %w", ErrNoAnswer, err)
	}
	return st, nil
}

// Do gives an order. A refusal is a Reply whose Done is false, not an error; the errors are those of [Client.Status].
// The agent takes the author from the socket, so UID is not sent.
func (c *Client) Do(ctx context.Context, cmd Command) (Reply, error) {
	body, err := json.Marshal(bodyOf(cmd))
	if err != nil {
		return Reply{}, fmt.Errorf("encode %s: %w", cmd.Verb, err)
	}
	code, answer, err := c.ask(ctx, http.MethodPost, string(cmd.Verb), body)
	if err != nil {
		return Reply{}, err
	}
	if code != http.StatusOK && code != http.StatusConflict {
		return Reply{}, c.failure(code, answer)
	}
	var out Reply
	if err := json.Unmarshal(answer, &out); err != nil {
		return Reply{}, fmt.Errorf("%w: its answer is not understood: %w", ErrNoAnswer, err)
	}
	out.Text = printable(out.Text)
	return out, nil
}

// printable replaces what a terminal would take for an order: what answers on a socket need not be an agent.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\n' {
			return '?'
		}
		return r
	}, s)
}

func bodyOf(cmd Command) commandBody {
	var out commandBody
	switch cmd.Verb {
	case VerbRaise:
		out.To = &cmd.To
	case VerbRevert:
		out.All = &cmd.All
	case VerbHold:
		if cmd.For > 0 {
			length := cmd.For.String()
			out.For = &length
		}
	}
	if cmd.By != "" {
		out.By = &cmd.By
	}
	return out
}

func (c *Client) ask(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://agent/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("ask the agent: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return resp.StatusCode, answer, nil
}

// unreachable says in the operator's words why there was no connection.
func (c *Client) unreachable(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w (nobody answers on %s)", ErrNotRunning, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: user %s may not open %s; run as root, or have an administrator set control_group",
			ErrNotPermitted, userName(uint32(os.Getuid())), c.path)
	default:
		return fmt.Errorf("%w on %s: %w", ErrNoAnswer, c.path, err)
	}
}

// failure turns an answer that is no answer into an error.
func (c *Client) failure(code int, body []byte) error {
	var said Reply
	text := fmt.Sprintf("status %d", code)
	if json.Unmarshal(body, &said) == nil && said.Text != "" {
		text = printable(said.Text)
	}
	if code == http.StatusForbidden {
		return fmt.Errorf("%w: %s", ErrNotPermitted, text)
	}
	return fmt.Errorf("%w: %s", ErrNoAnswer, text)
}
