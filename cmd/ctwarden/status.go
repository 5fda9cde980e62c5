package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
)

// askWithin bounds the wait for the agent's status, after which the kernel is read directly.
const askWithin = 5 * time.Second

func newStatusCommand(std stdio) *cobra.Command {
	var path string
	var namespaces bool
	var out output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the table, the limits, incidents, steps, sources and the connection to NATS",
		Long: `Shows the table, the limits, what it costs, what was refused, the sources, incidents, steps, the outbox and NATS.
Where no agent answers, it shows what the kernel itself says.`,
		Example: "  ctwarden status\n  ctwarden status --namespaces\n  ctwarden status -o json | jq .limits",
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			st, err := readStatus(cmd.Context(), std, path)
			if err != nil && !notThere(err) {
				return err
			}
			if printErr := printStatus(std, out, st, namespaces); printErr != nil {
				return printErr
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&namespaces, "namespaces", false, "show each network namespace")
	configFlag(cmd, &path)
	out.flag(cmd, "text", "json")
	return cmd
}

// readStatus asks the agent, and where it does not answer the kernel. A configuration with mistakes does not keep the
// operator from seeing the state of the host.
func readStatus(ctx context.Context, std stdio, path string) (agent.Status, error) {
	cfg, err := usableConfig(std, path)
	if err != nil {
		return agent.Status{}, err
	}
	ask, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	st, err := agent.NewClient(cfg.controlSocket()).Status(ask)
	if err == nil || ctx.Err() != nil {
		return st, errors.Join(err, ctx.Err())
	}
	st, kernelErr := kernelStatus(ctx, cfg)
	st.Notes = append([]string{err.Error() + "; this is what the kernel says"}, st.Notes...)
	return st, kernelErr
}

func printStatus(std stdio, out output, st agent.Status, namespaces bool) error {
	switch {
	case out.json():
		return writeJSON(std.out, st)
	case namespaces:
		return writeNamespaces(&terminal{w: std.out}, st)
	default:
		return writeStatus(&terminal{w: std.out}, st)
	}
}
