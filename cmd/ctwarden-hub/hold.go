package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
	"github.com/ctwarden/ctwarden/notify/hub/web"
)

// maxHold is the longest hold with an end.
const maxHold = notify.MaxHold

// reach is whom a command is about, and how the hub is reached.
type reach struct {
	config  string
	servers []string
	creds   string
	ca      string
	site    string
	host    string
	budget  bool
	why     string
	output  string
}

func (r *reach) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.site, "site", "", "only the hosts of this `site`")
	f.StringVar(&r.host, "host", "", "only this `host`, of the site given with --site")
	f.StringVar(&r.why, "why", "", "what for; hosts and the page show it")
	r.connection(cmd)
}

// connection are the flags of every command that asks the hub.
func (r *reach) connection(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.config, "config", "", "configuration `file` with the servers (default "+defaultConfigPath+")")
	f.StringSliceVar(&r.servers, "server", nil, "NATS server `URL` instead of the file's; may be given more than once")
	f.StringVar(&r.creds, "creds", "", "credentials `file` of an operator, instead of the file's")
	f.StringVar(&r.ca, "ca", "", "`file` with the authority of the server's certificate")
	f.StringVarP(&r.output, "output", "o", "text", "output format: text, json")
}

func newHoldCommand(stdout io.Writer) *cobra.Command {
	var r reach
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "hold [--site SITE [--host HOST]] [--for DURATION] [--why TEXT]",
		Short: "Stops all automatic steps on all hosts, on those of a site, or on one",
		Long: `Stops all automatic steps on all hosts, on those of a site, or on one: until "ctwarden-hub unhold", or for a while. The
leading hub keeps the hold, orders it, counts the answers, and tells hosts that come later. A host that hears nothing of it
goes on by its own configuration. A hold of the fleet and one of a host's own (ctwarden hold) do not release each other.

Printed are how many hosts answered (reached), how many of them hold now (done), how many refused, and how many that the hub
hears of said nothing within three seconds (silent). Exit code 0 where the hub took it, also where hosts are silent: they
are told again; 3 where no hub answers.`,
		Example: "  ctwarden-hub hold --site gva --for 2h --why \"change 4711\"\n  ctwarden-hub hold",
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if err := named(cmd); err != nil {
				return err
			}
			if cmd.Flags().Changed("for") && (length < time.Second || length > maxHold) {
				return fmt.Errorf("%w: --for %s: must be from 1s to %dh; without it the hold has no end", errUsage, length, int(maxHold.Hours()))
			}
			a := r.action(web.VerbHold)
			if length > 0 {
				a.Until = time.Now().Add(length)
			}
			return r.order(cmd.Context(), stdout, a)
		}),
	}
	r.flags(cmd)
	cmd.Flags().DurationVar(&length, "for", 0, "how long, such as 30m or 2h (default until unhold)")
	return cmd
}

func newUnholdCommand(stdout io.Writer) *cobra.Command {
	var r reach
	cmd := &cobra.Command{
		Use:   "unhold [--site SITE [--host HOST] | --budget] [--why TEXT]",
		Short: "Releases a hold of the fleet",
		Long: `Releases the hold of exactly this reach that somebody asked for: all hosts, a site, or one host. Where another hold of the
fleet reaches a host too, that one stays in force there.

With --budget it releases the hold of all hosts that the hub itself ordered because the fleet's steps of the hour were used
up (fleet_steps_per_hour), and no other. The hub does not order it again before the time at which it would have ended; if the
steps of the hour are used up then, it does. Its page counts as acknowledged. What is printed and the exit codes are those
of hold.`,
		Example: "  ctwarden-hub unhold --site gva\n  ctwarden-hub unhold --budget",
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if err := named(cmd); err != nil {
				return err
			}
			if r.budget && (r.site != "" || r.host != "") {
				return fmt.Errorf("%w: --budget is of all hosts; leave --site and --host out", errUsage)
			}
			return r.order(cmd.Context(), stdout, r.action(web.VerbUnhold))
		}),
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&r.budget, "budget", false, "the hub's own hold, because the fleet's steps of the hour were used up")
	return cmd
}

// named refuses a site or a host that is given and empty, as by a variable of a script that is not set: it would mean all.
func named(cmd *cobra.Command) error {
	for _, name := range []string{"site", "host"} {
		if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
			return fmt.Errorf("%w: --%s is empty; name one, or leave the flag out for all", errUsage, name)
		}
	}
	return nil
}

func (r *reach) action(v web.Verb) web.Action {
	return web.Action{Verb: v, By: whoAsks(), Site: r.site, Host: r.host, Why: r.why, Budget: r.budget}
}

// dial is how the hub is reached: the flags, else the configuration file.
func (r *reach) dial() (notify.Dial, error) {
	d := notify.Dial{Servers: r.servers}
	if len(r.servers) == 0 {
		s, err := loadSettings(r.config)
		if err != nil {
			return d, err
		}
		d = s.dial()
		if s.Embedded.Enabled {
			d.Servers = []string{"nats://" + s.Embedded.Listen}
		}
	}
	d.Name, d.InboxPrefix = "ctwarden-hub order", notify.OperatorInbox
	if err := absolute(&r.creds, &r.ca); err != nil {
		return d, err
	}
	if r.creds != "" {
		d.Credentials = r.creds
	}
	if r.ca != "" {
		d.TLS.CA = r.ca
	}
	if len(d.Servers) == 0 {
		return d, fmt.Errorf("%w: which server? give --server URL, or set nats.servers in the configuration file", errUsage)
	}
	if err := d.Check(); err != nil {
		return d, fmt.Errorf("%w: %w", errUsage, err)
	}
	return d, nil
}

// order asks the leading hub and prints what became of it.
func (r *reach) order(ctx context.Context, stdout io.Writer, a web.Action) error {
	if r.output != "text" && r.output != "json" {
		return fmt.Errorf("%w: -o %s; one of text, json", errUsage, r.output)
	}
	if r.host != "" && r.site == "" {
		return fmt.Errorf("%w: --host needs the host's --site", errUsage)
	}
	d, err := r.dial()
	if err != nil {
		return err
	}
	nc, err := d.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	result, err := hub.Ask(ctx, nc, a)
	switch {
	case errors.Is(err, web.ErrInvalid):
		return fmt.Errorf("%w: %w", errUsage, err)
	case err != nil:
		if denial := notify.Denied(nc.LastError()); denial != nil {
			return fmt.Errorf("%w: %w", err, denial)
		}
		return err
	}
	if r.output == "json" {
		return json.NewEncoder(stdout).Encode(result)
	}
	_, err = fmt.Fprintln(stdout, text(a, result))
	return err
}

// whoAsks names the user, for the journal and the page.
func whoAsks() string {
	name := fmt.Sprintf("uid %d", os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if by := os.Getenv("SUDO_USER"); by != "" && by != name {
		name = by
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name[:min(len(name), 128)]
}
