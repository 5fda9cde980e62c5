package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/notify"
)

// eventsFlags are the flags of events as given.
type eventsFlags struct {
	natsFlags
	filter notify.Filter
	out    output
}

func newEventsCommand(std stdio) *cobra.Command {
	var f eventsFlags
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print the fleet's events as they arrive, one JSON object a line",
		Long: `Prints the fleet's events as they arrive, one CloudEvents JSON object a line, until it is interrupted. The server and
the credentials are those of the configuration, or with --server only what the flags say.`,
		Example: `  ctwarden events --type incident --since 1h
  ctwarden events --server nats://127.0.0.1:4222 --host web1 | jq .data`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error { return f.run(cmd, std) }),
	}
	flags := cmd.Flags()
	f.register(cmd)
	flags.StringVar(&f.filter.Site, "site", "", "only this `site`")
	flags.StringVar(&f.filter.Host, "host", "", "only this `host`")
	flags.StringVar(&f.filter.Type, "type", "", "only this `type`, such as step.applied, or step for all that begin so")
	flags.DurationVar(&f.filter.Since, "since", 0, "begin so long ago (default only what comes from now on)")
	configFlag(cmd, &f.config)
	f.out.flag(cmd, "json", "text")
	return cmd
}

func (f *eventsFlags) run(cmd *cobra.Command, std stdio) error {
	if f.filter.Since < 0 {
		return wrongUsage("--since %s: must not be negative", f.filter.Since)
	}
	if err := f.check(); err != nil {
		return err
	}
	if _, err := f.filter.Subject(); err != nil {
		return wrongUsage("%w", err)
	}
	dial, err := f.dial(std, "ctwarden events")
	if err != nil {
		return err
	}
	return notify.Events(cmd.Context(), dial, f.filter, func(raw []byte) error { return f.print(std, raw) })
}

func (f *eventsFlags) print(std stdio, raw []byte) error {
	if f.out.json() {
		var line bytes.Buffer
		if err := json.Compact(&line, raw); err != nil {
			_, err = fmt.Fprintf(std.err, "ctwarden: an event that is no JSON was left out: %v\n", err)
			return err
		}
		line.WriteByte('\n')
		_, err := std.out.Write(line.Bytes())
		return err
	}
	ev, err := notify.Decode(raw)
	if err != nil {
		_, err = fmt.Fprintf(std.err, "ctwarden: an event that is not understood was left out: %v\n", err)
		return err
	}
	_, err = fmt.Fprintln(std.out, notify.Line(ev))
	return err
}

// dial is the configuration as package notify takes it.
func (n *natsConfig) dial() notify.Dial {
	return notify.Dial{Servers: n.Servers, Credentials: n.Credentials, Name: "ctwarden",
		TLS: notify.TLS{CA: n.TLS.CA, Cert: n.TLS.Cert, Key: n.TLS.Key}}
}
