package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// ContentType is the media type of an encoded event, sent as the message's Content-Type header.
const ContentType = "application/cloudevents+json"

// typePrefix makes the event's name a CloudEvents type.
const typePrefix = "io.ctwarden."

// schemaID is the $id of event.schema.json. The anchor behind "#" names the part that an event's data follows.
const schemaID = "https://ctwarden.io/schemas/event-v1.json"

// The bounds of an encoded event. A server takes messages of up to 1 MiB unless it is set otherwise.
const (
	maxBody       = 512 << 10
	maxLimitHitBy = 256
)

// Identity says whose events these are. It is fixed for the life of the agent.
type Identity struct {
	// Host is the host's full name as configured or as the kernel has it.
	Host string
	// Site is one token of the subject ([CheckSite]).
	Site string
	// Version is the agent's version.
	Version string
}

// Outgoing is an event ready to be stored and sent. It is immutable: what was stored is what is sent, byte for byte,
// after any number of retries and restarts.
type Outgoing struct {
	// Seq is the place in the outbox, growing and never used twice. Zero: not stored yet.
	Seq  uint64
	ID   string
	Type remediate.EventType
	// Subject is the NATS subject.
	Subject string
	// Body is the CloudEvents JSON document.
	Body []byte
	Time time.Time
}

// envelope is a CloudEvents 1.0 JSON document. "agentversion" is an extension attribute.
type envelope struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	DataSchema      string          `json:"dataschema"`
	AgentVersion    string          `json:"agentversion,omitempty"`
	Data            json.RawMessage `json:"data"`
}

// Encode makes the document and the subject of an event. The same identity and event always give the same bytes.
// It refuses an empty host or site, an event without id or time, and data that does not belong to the event's type.
// An incident's limit_hit_by is cut at 256 namespaces, so that a document stays far below a server's message limit.
func Encode(id Identity, ev remediate.Event) (Outgoing, error) {
	if err := checkEvent(id, ev); err != nil {
		return Outgoing{}, fmt.Errorf("encode %s: %w", ev.Type, err)
	}
	anchor, subject, value, err := describe(ev)
	if err != nil {
		return Outgoing{}, fmt.Errorf("encode %s: %w", ev.Type, err)
	}
	data, err := marshal(value)
	if err != nil {
		return Outgoing{}, fmt.Errorf("encode the data of %s: %w", ev.Type, err)
	}
	body, err := marshal(envelope{
		SpecVersion: "1.0", ID: ev.ID, Source: source(id), Type: typePrefix + string(ev.Type), Subject: subject,
		Time: ev.Time.UTC().Format(time.RFC3339Nano), DataContentType: "application/json",
		DataSchema: schemaID + "#" + anchor, AgentVersion: id.Version, Data: data,
	})
	if err != nil {
		return Outgoing{}, fmt.Errorf("encode %s: %w", ev.Type, err)
	}
	if len(body) > maxBody {
		return Outgoing{}, fmt.Errorf("encode %s: %d bytes are more than an event may have (%d)", ev.Type, len(body), maxBody)
	}
	return Outgoing{ID: ev.ID, Type: ev.Type, Subject: Subject(id.Site, id.Host, ev.Type), Body: body, Time: ev.Time.UTC()}, nil
}

func checkEvent(id Identity, ev remediate.Event) error {
	if err := CheckSite(id.Site); err != nil {
		return err
	}
	if err := checkHost(id.Host); err != nil {
		return err
	}
	if ev.ID == "" {
		return errors.New("the event has no id")
	}
	if y := ev.Time.UTC().Year(); ev.Time.IsZero() || y < 1 || y > 9999 {
		return fmt.Errorf("the event's time %v is not a date of the years 1 to 9999", ev.Time)
	}
	return nil
}

// describe returns the anchor of the data's schema, the CloudEvents subject (the incident, where there is one) and
// the data as it is to be written.
func describe(ev remediate.Event) (anchor, subject string, value any, err error) {
	switch d := ev.Data.(type) {
	case remediate.Incident:
		if len(d.LimitHitBy) > maxLimitHitBy {
			d.LimitHitBy = d.LimitHitBy[:maxLimitHitBy]
		}
		anchor, subject, value = "incident", d.ID, d
	case remediate.Step:
		anchor, subject, value = "step", d.IncidentID, d
	case remediate.Unverified:
		if d.PerSource == nil {
			d.PerSource = map[string]int{}
		}
		anchor, value = "unverified", d
	case remediate.SourceState:
		anchor, value = "source", d
	case remediate.LimitChange:
		anchor, value = "limit", d
	case remediate.AgentState:
		if d.Sources == nil {
			d.Sources = []remediate.Source{}
		}
		anchor, value = "agent", d
	default:
		return "", "", nil, fmt.Errorf("data of type %T is no event's", ev.Data)
	}
	if want := anchorOf(ev.Type); want != anchor {
		return "", "", nil, fmt.Errorf("data of type %T does not belong to this event", ev.Data)
	}
	return anchor, subject, value, nil
}

// anchorOf names the part of the schema that the data of a type follows; empty for a type that is not known.
func anchorOf(t remediate.EventType) string {
	switch t {
	case remediate.EventIncidentOpened, remediate.EventIncidentUpdated, remediate.EventIncidentClosed:
		return "incident"
	case remediate.EventStepApplied, remediate.EventStepConfirmed, remediate.EventStepRefused,
		remediate.EventStepFailed, remediate.EventStepReverted:
		return "step"
	case remediate.EventMatchUnverified:
		return "unverified"
	case remediate.EventSourceDegraded, remediate.EventSourceRecovered:
		return "source"
	case remediate.EventLimitChanged:
		return "limit"
	case remediate.EventAgentStarted, remediate.EventAgentStopped:
		return "agent"
	}
	return ""
}

// source is the CloudEvents source: a path with the site and the host, escaped.
func source(id Identity) string { return "/ctwarden/" + id.Site + "/" + url.PathEscape(id.Host) }

// marshal is json.Marshal without the escaping of <, > and &, which log lines hold.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
