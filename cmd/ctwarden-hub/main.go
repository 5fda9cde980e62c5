package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/config"
)

// version is set by the linker for a release: -ldflags "-X main.version=v1.2.3". It is not written to afterwards.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes.
const (
	exitDone        = 0
	exitUsage       = 2 // wrong usage or configuration
	exitUnavailable = 3 // not permitted, or not available here
)

// actionError is an error from within a command. Any other comes from cobra: wrong usage.
type actionError struct{ error }

func (e actionError) Unwrap() error { return e.error }

// action marks the errors of what a command does.
func action(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := do(cmd, args); err != nil {
			return actionError{err}
		}
		return nil
	}
}

// errUsage is what the operator typed and cobra cannot know of, or wrote into the file.
var errUsage = errors.New("usage")

// run carries out one command line, says on stderr what went wrong, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var (
		done actionError
		bad  *config.Error
	)
	switch {
	case err == nil:
		return exitDone
	case !errors.As(err, &done):
		fmt.Fprintf(stderr, "ctwarden-hub: %v\nTry: %s --help\n", err, cmd.CommandPath())
		return exitUsage
	case errors.As(err, &bad):
		fmt.Fprintln(stderr, bad)
		if errors.Is(err, fs.ErrPermission) {
			return exitUnavailable
		}
		return exitUsage
	}
	fmt.Fprintf(stderr, "ctwarden-hub: %v\n", done.error)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitUnavailable
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "ctwarden-hub",
		Short: "Makes one picture of a fleet of ctwarden agents, and pages on-call",
		Long: `ctwarden-hub reads the events of a fleet of ctwarden agents from a NATS stream, makes one incident of one trouble, tells
on-call, shows the fleet on a page, and holds it where that is asked for. A fleet has its own NATS servers; for one machine,
a lab or a first look the hub has one inside.

Exit codes: 0 done, 2 wrong usage or configuration, 3 not permitted or not available here.`,
		Example:       "  ctwarden-hub serve --embedded\n  ctwarden-hub init --server nats://nats.example:4222 --creds admin.creds",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionString(),
		Args:          cobra.NoArgs,
		RunE:          func(*cobra.Command, []string) error { return errors.New("which command?") },
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(newServeCommand(stdout, stderr), newInitCommand(stdout), newHoldCommand(stdout), newUnholdCommand(stdout),
		newAcknowledgeCommand(stdout), newResolveCommand(stdout), newTestPageCommand(stdout), newCheckConfigCommand(stdout),
		newSimulateCommand(stdout, stderr), newVersionCommand(stdout))
	return root
}
