package main

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/notify"
)

// natsFlags say where a command reads what the fleet has sent.
type natsFlags struct {
	config      string
	server      string
	credentials string
}

// register adds the flags besides --config.
func (f *natsFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.server, "server", "", "the `URL` of the NATS server (default nats.servers of the configuration)")
	cmd.Flags().StringVar(&f.credentials, "credentials", "", "a .creds `file` to go with --server")
}

// check finds flags that do not go together.
func (f *natsFlags) check() error {
	if f.credentials != "" && f.server == "" {
		return wrongUsage("--credentials goes with --server; without it those of the configuration are used")
	}
	return nil
}

// dial is where to connect: the server named on the command line with nothing of the configuration, or else what the
// configuration says. The name is shown in the server's list of connections.
func (f *natsFlags) dial(std stdio, name string) (notify.Dial, error) {
	if f.server != "" {
		credentials, err := absolute(f.credentials)
		return notify.Dial{Servers: []string{f.server}, Credentials: credentials, Name: name, InboxPrefix: notify.OperatorInbox}, err
	}
	cfg, err := usableConfig(std, f.config)
	if err != nil {
		return notify.Dial{}, err
	}
	if len(cfg.NATS.Servers) == 0 {
		return notify.Dial{}, wrongUsage("no server is configured; name one with --server nats://HOST:4222, or set nats.servers")
	}
	dial := cfg.NATS.dial()
	dial.Name, dial.InboxPrefix = name, notify.OperatorInbox
	return dial, nil
}

// absolute is the path of a file named on the command line, where a name without a slash is one too.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}
