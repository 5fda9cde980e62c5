package replay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// Report is what a replay found. Its JSON names are part of the contract. Times are in UTC; one that is not known is
// left out.
type Report struct {
	Sources []Source `json:"sources"`
	// Matches and Suppressed are the sums over all sources, where one record may stand in several.
	Matches    uint64     `json:"matches"`
	Suppressed uint64     `json:"suppressed"`
	Incidents  []Incident `json:"incidents"`
	// Host is the host whose records counted; "*": any.
	Host string `json:"host"`
	// Limit is the limit supposed at the first message of each host, Ceiling the policy's, in entries.
	Limit   uint64 `json:"limit"`
	Ceiling uint64 `json:"ceiling"`
}

// Source is what was read from one file or journal directory.
type Source struct {
	// Path is the file or directory as given; "-" is standard input.
	Path string           `json:"path"`
	Kind remediate.Source `json:"source"`
	// Records and Bytes count all that was read, unpacked.
	Records uint64 `json:"records"`
	Bytes   uint64 `json:"bytes"`
	// Matches counts occurrences of the message, Suppressed adds up what the records tell of suppressed ones.
	Matches    uint64 `json:"matches"`
	Suppressed uint64 `json:"suppressed"`
	// Rejected and Unparsed count records that hold the message and are not this kernel's.
	Rejected Rejected `json:"rejected"`
	Unparsed uint64   `json:"unparsed"`
	// Error says why the source was not read to its end; empty: it was.
	Error string `json:"error,omitempty"`
}

// Rejected counts records that hold the message, by why they do not count.
type Rejected struct {
	NotKernel uint64 `json:"not_kernel"`
	OtherHost uint64 `json:"other_host"`
}

// Incident is one episode of one namespace.
type Incident struct {
	// Host is as the records have it; empty: they name none.
	Host string `json:"host"`
	// NetNS is the inode that the records name, or "init" where they name none.
	NetNS string `json:"netns"`
	// Opened is the time of the first message, Closed that of the last and the quiet time after it.
	Opened time.Time `json:"opened,omitzero"`
	Closed time.Time `json:"closed,omitzero"`
	// OpenedUptime and ClosedUptime are the same in seconds since boot, for records that have no other time.
	OpenedUptime float64 `json:"opened_uptime_s,omitzero"`
	ClosedUptime float64 `json:"closed_uptime_s,omitzero"`
	// Matches and Suppressed are the largest of any one log, since a record may stand in several; the pieces of a rotated
	// log are one.
	Matches    int            `json:"matches"`
	Suppressed int            `json:"suppressed"`
	PerSource  map[string]int `json:"per_source"`
	// Steps are what would have been done, Refused the first time for each reason that no more would have been.
	Steps   []Step    `json:"steps"`
	Refused []Refusal `json:"refused"`
	// Moments are the times of the messages, the first 65,536.
	Moments remediate.Times `json:"-"`
}

// MarshalJSON gives null for a wall-clock time that is not known, so that both times are always there.
func (in Incident) MarshalJSON() ([]byte, error) {
	type plain Incident // without this method
	return json.Marshal(struct {
		plain
		Opened *time.Time `json:"opened"`
		Closed *time.Time `json:"closed"`
	}{plain(in), known(in.Opened), known(in.Closed)})
}

// known is a time, or nil for the zero one.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Step is a step that would have been taken.
type Step struct {
	// At is the time of the message that asked for it; AtUptime is in seconds since boot, where nothing else is known.
	At       time.Time        `json:"at,omitzero"`
	AtUptime float64          `json:"at_uptime_s,omitzero"`
	From     uint64           `json:"from"`
	To       uint64           `json:"to"`
	Reason   remediate.Reason `json:"reason"`
	// Assumed is always true: old records do not tell whether the table was full.
	Assumed bool `json:"assumed"`
}

// Refusal is a message at which no step would have been taken, and why.
type Refusal struct {
	At       time.Time        `json:"at,omitzero"`
	AtUptime float64          `json:"at_uptime_s,omitzero"`
	Limit    uint64           `json:"limit"`
	Reason   remediate.Reason `json:"reason"`
}

// WriteJSON writes the report as one indented JSON object. There may be very many incidents, so that they are encoded
// one by one.
func (r Report) WriteJSON(w io.Writer) error {
	out := bufio.NewWriter(w)
	if err := r.encode(out); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// noIncidents is what the encoder makes of an empty list of them.
const noIncidents = "\n  \"incidents\": []"

func (r Report) encode(out *bufio.Writer) error {
	incidents := r.Incidents
	r.Incidents = []Incident{}
	rest, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	before, after, _ := bytes.Cut(rest, []byte(noIncidents))
	out.Write(before)
	out.WriteString(noIncidents[:len(noIncidents)-1])
	for i, in := range incidents {
		one, err := json.MarshalIndent(in, "    ", "  ")
		if err != nil {
			return err
		}
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString("\n    ")
		out.Write(one)
	}
	if len(incidents) > 0 {
		out.WriteString("\n  ")
	}
	out.WriteByte(']')
	out.Write(after)
	return out.WriteByte('\n')
}
