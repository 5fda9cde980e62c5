package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os/user"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/remediate"
)

// Verb is what an operator asks the agent to do.
type Verb string

// The verbs; each is the last part of its path on the control socket.
const (
	VerbRaise  Verb = "raise"
	VerbRevert Verb = "revert"
	VerbHold   Verb = "hold"
	VerbUnhold Verb = "unhold"
)

// Command is one order of an operator.
type Command struct {
	Verb Verb
	// To is the limit to raise to, in entries (raise).
	To uint64
	// All takes back every step that ctwarden made, not only the last (revert).
	All bool
	// For is how long to hold; 0: until it is released (hold).
	For time.Duration
	// By names who asks: the peer's user as the kernel reports it, and the name that it gave.
	By string
	// UID is the peer's user ID.
	UID uint32
}

// Reply is the answer to a [Command].
type Reply struct {
	// Done is false where the order was refused; Reason and Text then say why and what to do.
	Done   bool             `json:"done"`
	Reason remediate.Reason `json:"reason,omitempty"`
	Text   string           `json:"text,omitempty"`
	// Step is what was written, or would have been.
	Step *remediate.Step `json:"step,omitempty"`
}

// Controller is the agent's loop as the control socket sees it. Both methods are called from several goroutines at
// once and return when ctx ends at the latest. An error means that the agent could not deal with the order; a refusal
// is a [Reply].
type Controller interface {
	Status(ctx context.Context) (Status, error)
	Do(ctx context.Context, c Command) (Reply, error)
}

// ControlConfig says where the control socket is and who may use it.
type ControlConfig struct {
	// Path is the socket's file, such as /run/ctwarden/control.sock.
	Path string
	// Group may use the socket besides root and the agent's own user. Empty: nobody else.
	Group string
	// Controller carries out what is asked.
	Controller Controller
	// Timeout bounds one order. Zero: 10 seconds.
	Timeout time.Duration
	Log     *zap.Logger
}

// Control serves the control socket: HTTP and JSON over a unix socket, so that curl --unix-socket can use it too.
// Who may open the file and who the kernel says is at the other end are both checked.
type Control struct {
	cfg      ControlConfig
	listener *net.UnixListener
	access   access
}

const (
	maxControlBody    = 4 << 10
	maxControlHeader  = 4 << 10
	controlStopWithin = 500 * time.Millisecond
	maxHold           = 366 * 24 * time.Hour
)

// Run serves until ctx is done; the socket's file is removed then. It returns nil on cancel.
func (c *Control) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler: c.handler(), ConnContext: withPeer, ErrorLog: zap.NewStdLog(c.cfg.Log),
		ReadHeaderTimeout: 2 * time.Second, ReadTimeout: 5 * time.Second, IdleTimeout: 5 * time.Second,
		WriteTimeout: c.cfg.Timeout + 5*time.Second, MaxHeaderBytes: maxControlHeader,
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(bounded(c.listener, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", c.cfg.Path, err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		defer c.remove()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlStopWithin)
		defer cancel()
		if err := srv.Shutdown(stop); err != nil {
			return srv.Close()
		}
		return nil
	})
	return g.Wait()
}

// handler is the interface as it stands in the documentation of the socket.
func (c *Control) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", c.status)
	for _, verb := range []Verb{VerbRaise, VerbRevert, VerbHold, VerbUnhold} {
		mux.HandleFunc("POST /v1/"+string(verb), func(w http.ResponseWriter, r *http.Request) { c.do(w, r, verb) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.access.check(peerOf(r.Context())); err != nil {
			c.cfg.Log.Warn("control request refused", zap.Error(err))
			reply(w, http.StatusForbidden, Reply{Text: err.Error()})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), c.cfg.Timeout)
		defer cancel()
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (c *Control) status(w http.ResponseWriter, r *http.Request) {
	st, err := c.cfg.Controller.Status(r.Context())
	if err != nil {
		reply(w, http.StatusServiceUnavailable, Reply{Text: fmt.Sprintf("the agent did not answer: %v", err)})
		return
	}
	reply(w, http.StatusOK, st)
}

func (c *Control) do(w http.ResponseWriter, r *http.Request, verb Verb) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		reply(w, http.StatusRequestEntityTooLarge, Reply{Text: fmt.Sprintf("the request is larger than %d bytes", maxControlBody)})
		return
	case err != nil:
		reply(w, http.StatusBadRequest, Reply{Text: fmt.Sprintf("the request is cut off: %v", err)})
		return
	}
	cmd, err := decodeCommand(verb, body)
	if err != nil {
		reply(w, http.StatusBadRequest, Reply{Text: err.Error()})
		return
	}
	peer := peerOf(r.Context())
	cmd.UID, cmd.By = peer.uid, peer.name(cmd.By)
	c.cfg.Log.Debug("control command", zap.String("verb", string(verb)), zap.String("by", cmd.By), zap.Uint32("uid", peer.uid))
	answer, err := c.cfg.Controller.Do(r.Context(), cmd)
	switch {
	case err != nil:
		reply(w, http.StatusServiceUnavailable, Reply{Text: err.Error()})
	case !answer.Done:
		reply(w, http.StatusConflict, answer)
	default:
		reply(w, http.StatusOK, answer)
	}
}

// reply writes v as JSON. An error here means that the peer has gone, and there is nobody left to tell.
func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

// commandBody is a command's JSON. A field that the verb does not take is refused.
type commandBody struct {
	To  *uint64 `json:"to,omitempty"`
	All *bool   `json:"all,omitempty"`
	For *string `json:"for,omitempty"`
	By  *string `json:"by,omitempty"`
}

// decodeCommand reads the body of a request. An empty body has no fields.
func decodeCommand(verb Verb, body []byte) (Command, error) {
	var in commandBody
	if len(body) > 0 {
		if err := strictJSON(body, &in); err != nil {
			return Command{}, fmt.Errorf("the request is not understood: %w", err)
		}
	}
	cmd := Command{Verb: verb}
	switch {
	case in.To != nil && verb != VerbRaise, in.All != nil && verb != VerbRevert, in.For != nil && verb != VerbHold:
		return cmd, fmt.Errorf("%s does not take this field; raise takes to, revert takes all, hold takes for", verb)
	case verb == VerbRaise && (in.To == nil || *in.To < 1 || *in.To > math.MaxInt32):
		return cmd, fmt.Errorf("raise needs to: the new limit, a number from 1 to %d", math.MaxInt32)
	}
	if in.To != nil {
		cmd.To = *in.To
	}
	if in.All != nil {
		cmd.All = *in.All
	}
	if in.By != nil {
		cmd.By = *in.By
	}
	if in.For != nil {
		length, err := time.ParseDuration(*in.For)
		if err != nil || length <= 0 || length > maxHold {
			return cmd, fmt.Errorf("for: %q is not a duration such as 30m or 2h, at most %dh", *in.For, int(maxHold.Hours()))
		}
		cmd.For = length
	}
	return cmd, nil
}

// userName is the name of a user ID, or the number where it has none.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}
