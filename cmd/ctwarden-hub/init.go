package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
)

// setupTime bounds the whole of init.
const setupTime = 30 * time.Second

func newInitCommand(stdout io.Writer) *cobra.Command {
	var (
		dial      = notify.Dial{Name: "ctwarden-hub init"}
		maxBytes  string
		hostBytes string
		replicas  int
		form      string
		site      string
		host      string
	)
	cmd := &cobra.Command{
		Use:   "init {--server URL | --permissions FORM}",
		Short: "Creates or updates the streams, the buckets and the consumer; prints who needs which permissions",
		Long: `Creates the JetStream streams CTWARDEN and CTWARDEN_COMMANDS, the key-value buckets CTWARDEN_HOSTS and CTWARDEN_FLEET
and the hub's consumer, or changes them to what this version needs, and prints each change, and warnings of what makes them
less safe than they should be and is not its to change. It can be run again at any time.
It needs credentials that may administer JetStream in the account; agents and hubs do not.

With --permissions it prints what hosts, hubs and operators need in the account, and no more: a host may publish its own
events, its own state and its own answers, and hear the orders that are for it. FORM is config (users with passwords in the
server's file), nkey (users with keys in the server's file) or jwt (signing keys with templates, for nsc).`,
		Example: "  ctwarden-hub init --server nats://nats.example:4222 --creds admin.creds --max-bytes 50GiB\n" +
			"  ctwarden-hub init --permissions nkey --site gva --host hv1.example",
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if form != "" {
				if err := checkPermissions(form, site, host); err != nil {
					return err
				}
				if err := printPermissions(stdout, form, site, host); err != nil || len(dial.Servers) == 0 {
					return err
				}
			}
			if len(dial.Servers) == 0 {
				return fmt.Errorf("%w: which server? give --server URL, or --permissions FORM alone", errUsage)
			}
			size, err := config.ParseSize(maxBytes)
			if err != nil || size == 0 {
				return fmt.Errorf("%w: --max-bytes %q is not a size; write one like 10GiB", errUsage, maxBytes)
			}
			var hostSize config.Size
			if hostBytes != "" {
				if hostSize, err = config.ParseSize(hostBytes); err != nil || hostSize < 1<<20 {
					return fmt.Errorf("%w: --host-bytes %q; a size from 1MiB on, such as 512MiB", errUsage, hostBytes)
				}
			}
			if replicas < 0 || replicas > 5 {
				return fmt.Errorf("%w: --replicas %d; 1 to 5, or 0 to choose", errUsage, replicas)
			}
			if err := absolute(&dial.Credentials, &dial.TLS.CA, &dial.TLS.Cert, &dial.TLS.Key); err != nil {
				return err
			}
			if err := dial.Check(); err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			return setUp(cmd.Context(), stdout, dial, hub.SetupOptions{MaxBytes: int64(size), HostBytes: int64(hostSize), Replicas: replicas})
		}),
	}
	f := cmd.Flags()
	f.StringSliceVar(&dial.Servers, "server", nil, "NATS server `URL`; may be given more than once")
	f.StringVar(&dial.Credentials, "creds", "", "credentials `file` that may administer JetStream")
	f.StringVar(&dial.TLS.CA, "ca", "", "`file` with the authority of the server's certificate")
	f.StringVar(&dial.TLS.Cert, "cert", "", "client certificate `file`")
	f.StringVar(&dial.TLS.Key, "key", "", "client key `file`")
	f.StringVar(&maxBytes, "max-bytes", clusterMaxBytes.String(), "`size` of the stream beyond which the oldest events go")
	f.StringVar(&hostBytes, "host-bytes", "", "`size` of the bucket of host states, some 2.5KiB a host (default 256MiB, or as it is)")
	f.IntVar(&replicas, "replicas", 0, "copies of the stream; 0: three, or as many as there are servers")
	f.StringVar(&form, "permissions", "", "print who needs which permissions, in the `form` config, nkey or jwt")
	f.StringVar(&site, "site", "gva", "`site` of the host whose permissions are printed")
	f.StringVar(&host, "host", "host1.example", "`name` of the host whose permissions are printed")
	return cmd
}

func checkPermissions(form, site, host string) error {
	if !slices.Contains(permissionForms, form) {
		return fmt.Errorf("%w: --permissions %s; one of %s", errUsage, form, strings.Join(permissionForms, ", "))
	}
	if err := notify.CheckSite(site); err != nil {
		return fmt.Errorf("%w: --site: %w", errUsage, err)
	}
	if host == "" || len(host) > 255 {
		return fmt.Errorf("%w: --host: a name of 1 to 255 bytes", errUsage)
	}
	return nil
}

// absolute completes the paths of files named on the command line, where a name without a slash is a path too.
func absolute(paths ...*string) error {
	for _, path := range paths {
		if *path == "" {
			continue
		}
		full, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("find %s: %w", *path, err)
		}
		*path = full
	}
	return nil
}

// setUp prints what it changed, also what it had changed before it failed.
func setUp(ctx context.Context, stdout io.Writer, dial notify.Dial, o hub.SetupOptions) error {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	ctx, deny := context.WithCancelCause(ctx)
	defer deny(nil)
	nc, err := dial.Connect(nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if denial := notify.Denied(err); denial != nil {
			deny(denial)
		}
	}))
	if err != nil {
		return err
	}
	defer nc.Close()
	changes, err := hub.Setup(ctx, nc, o)
	for _, c := range changes {
		fmt.Fprintln(stdout, c)
	}
	if err == nil && len(changes) == 0 {
		fmt.Fprintln(stdout, "nothing to change")
	}
	if err == nil {
		err = warn(ctx, stdout, nc)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// warn prints what makes the streams less safe than they should be.
func warn(ctx context.Context, stdout io.Writer, nc *nats.Conn) error {
	warnings, err := hub.Warnings(ctx, nc)
	for _, w := range warnings {
		fmt.Fprintln(stdout, "warning: "+w)
	}
	return err
}
