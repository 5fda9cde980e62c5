package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/notify"
)

// codeInvalidJSON is JetStream's refusal of a request that it does not understand.
const codeInvalidJSON jetstream.ErrorCode = 10025

// Warnings says what makes the streams less safe than they should be, and what to do: what Setup cannot change, or is the
// servers' own configuration. It needs the rights of an administrator of the account, and to be asked after Setup.
func Warnings(ctx context.Context, nc *nats.Conn) (warnings []string, err error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	var memory, async, single []string
	for _, name := range []string{notify.StreamName, "KV_" + notify.HostsBucket, "KV_" + FleetBucket, notify.CommandsStream} {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return nil, unavailable("read the stream "+name, err)
		}
		c := s.CachedInfo().Config
		switch {
		case name == "KV_"+notify.HostsBucket: // sent anew every minute
		case c.Storage != jetstream.FileStorage:
			memory = append(memory, name)
		case c.PersistMode == jetstream.AsyncPersistMode:
			async = append(async, name)
		case c.Replicas == 1:
			single = append(single, name)
		}
	}
	warn := func(streams []string, format string) {
		if len(streams) > 0 {
			warnings = append(warnings, fmt.Sprintf(format, strings.Join(streams, ", ")))
		}
	}
	warn(memory, "%s: kept in memory alone, which a restart of the servers empties; remove it and run this again for one on disk")
	warn(async, "%s: written to disk after the acknowledgement (persist mode async), so that a server that is killed loses what was acknowledged; "+
		"remove it and run this again for one that is not")
	warn(single, "%s: one copy. What a server acknowledged within its sync_interval (two minutes unless its jetstream block says less) "+
		"goes with its power; set sync_interval: always, or have three servers")
	lax, err := acceptsAnything(ctx, nc)
	if err == nil && lax {
		warnings = append(warnings, fmt.Sprintf("NATS server %s takes JetStream requests that it does not understand in full, so that a host that was "+
			"taken over can have bucket %s emptied; have servers from 2.12 on, without strict: false in their jetstream block", nc.ConnectedServerVersion(), FleetBucket))
	}
	return warnings, err
}

// acceptsAnything tells whether JetStream's API takes a request with a member that it does not know. A server's own
// acknowledgement of an event, which a host can have sent anywhere, is such a request.
func acceptsAnything(ctx context.Context, nc *nats.Conn) (bool, error) {
	m, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.INFO.KV_"+FleetBucket, []byte(`{"stream":"CTWARDEN","seq":1}`))
	if err != nil {
		return false, unavailable("ask JetStream", err)
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return false, fmt.Errorf("ask JetStream: %w", err)
	}
	switch {
	case answer.Error == nil:
		return true, nil
	case answer.Error.ErrorCode == codeInvalidJSON:
		return false, nil
	}
	return false, unavailable("ask JetStream", errors.Join(answer.Error))
}
