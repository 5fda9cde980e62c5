package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

// testPageTime bounds one attempt at a sender.
const testPageTime = 30 * time.Second

func newTestPageCommand(stdout io.Writer) *cobra.Command {
	var path string
	var resolve bool
	cmd := &cobra.Command{
		Use:   "test-page ROUTE|NAME",
		Short: "Sends a page that says that it is a test, to see it arrive",
		Long: `Sends a page that says that it is a test to one sender of the configuration file (its name below oncall), or to all whom
a route tells first. It is sent from here, once, without a hub, and says what the other end answered. With --resolve the end
follows it, so that nothing stays open at PagerDuty or Alertmanager. Exit code 0 where all took it, 3 where one did not.`,
		Example: "  ctwarden-hub test-page pagerduty\n  ctwarden-hub test-page nights --resolve",
		Args:    cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			s, err := loadSettings(path)
			if err != nil {
				return err
			}
			senders, err := s.named(args[0])
			if err != nil {
				return err
			}
			var failed []error
			for _, c := range senders {
				err := sendTest(cmd.Context(), c, resolve)
				if err != nil {
					err = fmt.Errorf("%s: %w", c.Name, err)
					failed = append(failed, err)
					continue
				}
				fmt.Fprintf(stdout, "%s: %s took it\n", c.Name, c.Kind())
			}
			return errors.Join(failed...)
		}),
	}
	cmd.Flags().StringVar(&path, "config", "", "configuration `file` (default "+defaultConfigPath+")")
	cmd.Flags().BoolVar(&resolve, "resolve", false, "tell of its end too")
	return cmd
}

// named are the senders of that name: one, or those that a route tells first.
func (s settings) named(name string) ([]oncall.Config, error) {
	names := []string{name}
	if i := slices.IndexFunc(s.Routes, func(r routeSettings) bool { return r.Name == name }); i >= 0 {
		names = s.Routes[i].To
	}
	var out []oncall.Config
	for _, c := range s.OnCall {
		if slices.Contains(names, c.Name) {
			out = append(out, c)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	var known []string
	for _, c := range s.OnCall {
		known = append(known, c.Name)
	}
	for _, r := range s.Routes {
		known = append(known, r.Name)
	}
	return nil, fmt.Errorf("%w: no sender or route is called %q; there are: %v", errUsage, name, known)
}

// sendTest makes one attempt.
func sendTest(ctx context.Context, c oncall.Config, resolve bool) error {
	sender, err := oncall.New(c, oncall.Options{Program: "ctwarden-hub/" + versionString()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, testPageTime)
	defer cancel()
	page := oncall.TestPage("test-"+rand.Text(), c.Name, time.Now().UTC())
	if err := sender.Send(ctx, page); err != nil {
		return err
	}
	if resolve {
		return sender.Send(ctx, page.Resolved(page.ID+"-end", time.Now().UTC()))
	}
	return nil
}
