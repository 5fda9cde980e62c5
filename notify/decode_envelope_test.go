package notify

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// FuzzEnvelope holds the reading by cutting to that by the JSON library.
func FuzzEnvelope(f *testing.F) {
	for _, typ := range []remediate.EventType{remediate.EventIncidentOpened, remediate.EventAgentStarted} {
		var data any = remediate.Incident{ID: "i", OpenedAt: time.Unix(1, 0)}
		if typ == remediate.EventAgentStarted {
			data = remediate.AgentState{Version: "v1"}
		}
		ev, err := Encode(Identity{Host: "hv1", Site: "gva", Version: "v1"}, remediate.Event{ID: "e", Type: typ, Time: time.Unix(1, 0), Data: data})
		if err != nil {
			f.Fatal(err)
		}
		if e := (envelope{}); !cutEnvelope(ev.Body, &e) {
			f.Errorf("%s is not read the short way", ev.Body)
		}
		f.Add(ev.Body)
	}
	const head = `{"specversion":"1.0","id":"a","source":"/ctwarden/s/h","type":"t","time":"x","datacontenttype":"y","dataschema":"z",`
	for _, tail := range []string{`"data":1}`, `"data":1,"id":"b"}`, `"data":{}}}`, `"data":}`, `"data":{"a":"}"}}`, `"id":"b","data":1}`, `"data":1} `, `"DATA":1}`} {
		f.Add([]byte(head + tail))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := readEnvelope(body)
		var want envelope
		wantErr := json.Unmarshal(body, &want)
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot  %+v, %v\nwant %+v, %v", body, got, err, want, wantErr)
		}
	})
}
