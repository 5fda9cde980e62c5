package notify

import (
	"bytes"
	"encoding/json"
)

// readEnvelope reads the document around an event's data. One that is written as [Encode] writes it is cut at its keys,
// since a hub reads 20,000 a second; any other is read by the JSON library.
func readEnvelope(body []byte) (envelope, error) {
	var e envelope
	if cutEnvelope(body, &e) && json.Valid(e.Data) {
		return e, nil
	}
	e = envelope{}
	err := json.Unmarshal(body, &e)
	return e, err
}

// cutEnvelope tells whether the document has just the keys of Encode in their order, with texts of plain ASCII. Data is what
// stands behind its key, which the caller has to look at.
func cutEnvelope(body []byte, e *envelope) bool {
	rest, ok := bytes.CutPrefix(body, []byte(`{`))
	if !ok {
		return false
	}
	for _, field := range []struct {
		key      string
		into     *string
		optional bool
	}{
		{`"specversion":"`, &e.SpecVersion, false}, {`"id":"`, &e.ID, false}, {`"source":"`, &e.Source, false}, {`"type":"`, &e.Type, false},
		{`"subject":"`, &e.Subject, true}, {`"time":"`, &e.Time, false}, {`"datacontenttype":"`, &e.DataContentType, false},
		{`"dataschema":"`, &e.DataSchema, false}, {`"agentversion":"`, &e.AgentVersion, true},
	} {
		behind, ok := bytes.CutPrefix(rest, []byte(field.key))
		if !ok && field.optional {
			continue
		}
		n := plainText(behind)
		if !ok || n < 0 || n+1 >= len(behind) || behind[n+1] != ',' {
			return false
		}
		*field.into, rest = string(behind[:n]), behind[n+2:]
	}
	data, ok := bytes.CutPrefix(rest, []byte(`"data":`))
	if !ok || !bytes.HasSuffix(data, []byte("}")) {
		return false
	}
	e.Data = data[:len(data)-1]
	return true
}

// plainText is the length of a text up to its quote; -1 where it has anything that JSON writes in another way.
func plainText(b []byte) int {
	for i, c := range b {
		switch {
		case c == '"':
			return i
		case c < ' ' || c > '~' || c == '\\':
			return -1
		}
	}
	return -1
}
