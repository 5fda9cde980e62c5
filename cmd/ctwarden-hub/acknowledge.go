package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/notify/hub/web"
)

func newAcknowledgeCommand(stdout io.Writer) *cobra.Command {
	var r reach
	cmd := &cobra.Command{
		Use:   "acknowledge INCIDENT",
		Short: "Says that you look after an incident, so that it is not escalated",
		Long: `Says that you look after an incident of the fleet, as on the page: no further stage of its route is told, on-call hears of
it again only where it gets worse, and whoever was paged is told who acknowledged. The incident's timeline has your name.
Escalation goes by this alone: what is acknowledged in PagerDuty, Slack or Alertmanager is not known to the hub. The id is
that of the page's address. Exit codes: 0 done, also where somebody acknowledged it before; 3 where no hub answers, or
where there is no such incident or it is over.`,
		Example: "  ctwarden-hub acknowledge c2f7b990cc29e71dcb5fc",
		Args:    cobra.ExactArgs(1),
	}
	r.toIncident(cmd, stdout, web.VerbAcknowledge)
	return cmd
}
