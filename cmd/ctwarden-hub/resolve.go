package main

import (
	"cmp"
	"io"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/notify/hub/web"
)

func newResolveCommand(stdout io.Writer) *cobra.Command {
	var r reach
	cmd := &cobra.Command{
		Use:   "resolve INCIDENT",
		Short: "Ends an incident whose hosts will never tell of its end",
		Long: `Ends an incident of the fleet, or the incident of a host, on your word: on-call is told that it is over. It is for hosts
that are gone for good, or ends that were lost. What the hosts tell later begins anew where it is worse than it was. The id
is that of the page's address, or the host's own as its events have it. Exit codes: 0 done, 3 where no hub answers, or
where there is no such incident or it is over.`,
		Example: "  ctwarden-hub resolve c2f7b990cc29e71dcb5fc",
		Args:    cobra.ExactArgs(1),
	}
	r.toIncident(cmd, stdout, web.VerbResolve)
	return cmd
}

// toIncident has a command do that to the incident that is its argument.
func (r *reach) toIncident(cmd *cobra.Command, stdout io.Writer, verb web.Verb) {
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		a := r.action(verb)
		a.Incident = args[0]
		return r.order(cmd.Context(), stdout, a)
	})
	r.connection(cmd)
}

// text is what became of an action, for a person.
func text(a web.Action, result web.Result) string {
	switch a.Verb {
	case web.VerbResolve:
		return cmp.Or(result.Text, "resolved "+a.Incident)
	case web.VerbAcknowledge:
		return cmp.Or(result.Text, "acknowledged "+a.Incident)
	}
	return result.Text
}
