package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// Received is an event as a consumer sees it.
type Received struct {
	Identity
	// Event has its Data by value, as in [remediate.Event]; for a type that this version does not know it is a
	// json.RawMessage, so that an older consumer passes on what a newer agent sends.
	Event remediate.Event
}

// Decode reads a document that [Encode] made. It is lenient where a newer agent may say more (unknown fields and
// types) and strict where a consumer would be misled: the id, the source, the type and the time must be there.
func Decode(body []byte) (Received, error) {
	e, err := readEnvelope(body)
	if err != nil {
		return Received{}, fmt.Errorf("decode event: %w", err)
	}
	site, host, err := splitSource(e.Source)
	if err != nil {
		return Received{}, fmt.Errorf("decode event %q: %w", e.ID, err)
	}
	name, ours := strings.CutPrefix(e.Type, typePrefix)
	if e.SpecVersion != "1.0" || e.ID == "" || !ours || name == "" {
		return Received{}, fmt.Errorf("decode event %q: not a ctwarden event (specversion %q, type %q)", e.ID, e.SpecVersion, e.Type)
	}
	at, err := time.Parse(time.RFC3339Nano, e.Time)
	if err != nil {
		return Received{}, fmt.Errorf("decode event %q: time: %w", e.ID, err)
	}
	r := Received{Identity: Identity{Host: host, Site: site, Version: e.AgentVersion}}
	r.Event = remediate.Event{ID: e.ID, Type: remediate.EventType(name), Time: at}
	if r.Event.Data, err = decodeData(r.Event.Type, e.Data); err != nil {
		return Received{}, fmt.Errorf("decode event %q: data of %s: %w", e.ID, name, err)
	}
	return r, nil
}

func splitSource(source string) (site, host string, err error) {
	rest, ok := strings.CutPrefix(source, "/ctwarden/")
	site, escaped, two := strings.Cut(rest, "/")
	if !ok || !two || site == "" || escaped == "" {
		return "", "", fmt.Errorf("source %q is not /ctwarden/<site>/<host>", source)
	}
	if host, err = url.PathUnescape(escaped); err != nil {
		return "", "", fmt.Errorf("source %q: %w", source, err)
	}
	return site, host, nil
}

func decodeData(t remediate.EventType, data json.RawMessage) (any, error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, errors.New("missing")
	}
	switch anchorOf(t) {
	case "incident":
		return into[remediate.Incident](data)
	case "step":
		return into[remediate.Step](data)
	case "unverified":
		return into[remediate.Unverified](data)
	case "source":
		return into[remediate.SourceState](data)
	case "limit":
		return into[remediate.LimitChange](data)
	case "agent":
		return into[remediate.AgentState](data)
	}
	return data, nil
}

func into[T any](data []byte) (any, error) {
	var v T
	err := json.Unmarshal(data, &v)
	return v, err
}
