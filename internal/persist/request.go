package persist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// maxRequest and maxAnswer bound a line, in bytes.
const (
	maxRequest = 1 << 10
	maxAnswer  = 64 << 10
)

// What may be asked for.
const (
	doPersist  = "persist"
	doWithdraw = "withdraw"
)

// request is what an agent asks for. The fields below Do are those of a step, for [doPersist].
type request struct {
	Do string `json:"do"`
	// From and To are limits in entries.
	From uint64 `json:"from,omitempty"`
	To   uint64 `json:"to,omitempty"`
	// Hash asks for the hash to last too, at the size that it has now.
	Hash     bool             `json:"hash,omitempty"`
	Reason   remediate.Reason `json:"reason,omitempty"`
	Step     string           `json:"step,omitempty"`
	Incident string           `json:"incident,omitempty"`
}

// why are the reasons of a step that may be persisted.
var why = []remediate.Reason{
	remediate.ReasonPressure, remediate.ReasonFull, remediate.ReasonForecast, remediate.ReasonManual, remediate.ReasonBoot,
	remediate.ReasonDecay, remediate.ReasonIneffective,
}

// plainID is the form of the ids of steps and incidents.
var plainID = regexp.MustCompile(`^[A-Za-z0-9._-]{0,100}$`)

// parseRequest takes one line apart, and refuses all that an agent does not send.
func parseRequest(line []byte) (request, error) {
	var r request
	if err := strict(line, &r); err != nil {
		return request{}, refuse(CodeRequest, "%v", err)
	}
	switch {
	case r.Do == doWithdraw && r == request{Do: doWithdraw}:
	case r.Do == doWithdraw:
		return request{}, refuse(CodeRequest, "a withdrawal has no limit")
	case r.Do != doPersist:
		return request{}, refuse(CodeRequest, "nothing that can be asked for: %.40q", r.Do)
	case r.To == 0 || max(r.From, r.To) > remediate.MaxLimit:
		return request{}, refuse(CodeRequest, "no limits: %d and %d", r.From, r.To)
	case !slices.Contains(why, r.Reason):
		return request{}, refuse(CodeRequest, "no reason for a step: %.40q", string(r.Reason))
	case !plainID.MatchString(r.Step) || !plainID.MatchString(r.Incident):
		return request{}, refuse(CodeRequest, "no ids: %.40q and %.40q", r.Step, r.Incident)
	}
	return r, nil
}

// strict decodes one JSON value and refuses unknown fields and anything behind it.
func strict(line []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return errors.New("not the JSON that is expected")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the first value")
	}
	return nil
}

// step is the step that the request is about.
func (r request) step() remediate.Step {
	return remediate.Step{ID: r.Step, IncidentID: r.Incident, From: r.From, To: r.To, Reason: r.Reason}
}

// answer is what became of a request: one of the three.
type answer struct {
	Persistence *apply.Persistence `json:"persistence,omitempty"`
	Withdrawal  *withdrawal        `json:"withdrawal,omitempty"`
	Refusal     *Refusal           `json:"refusal,omitempty"`
}

// withdrawal tells whether there was a file to be removed.
type withdrawal struct {
	Removed bool `json:"removed"`
}

// The codes of a [Refusal].
const (
	CodePeer    = "peer"    // whoever asks is neither root nor the agent's user
	CodeRequest = "request" // it is not in the form of a request
	CodeChanged = "changed" // the kernel has another limit
	CodeCeiling = "ceiling" // the limit is above remediate.ceiling
	CodeMode    = "mode"    // mode is not remediate
	CodeOff     = "off"     // remediate.persist is false
	CodeBelow   = "below"   // the host would have more without it
	CodeMemory  = "memory"  // it does not fit remediate.memory_share
	CodeGone    = "gone"    // whoever asks is there no more
	CodeFailed  = "failed"  // it was tried
)

// Refusal is the helper's answer where it did not do what was asked.
type Refusal struct {
	// Code is one of the words above, Text says it to a person, with what to do.
	Code string `json:"code"`
	Text string `json:"text"`
}

// Error implements error.
func (r *Refusal) Error() string { return r.Text }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
}
