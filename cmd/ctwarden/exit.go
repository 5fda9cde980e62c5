package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/config"
)

// The exit codes.
const (
	exitDone        = 0
	exitRefused     = 1 // findings, or refused with a reason
	exitUsage       = 2 // wrong usage or configuration
	exitUnavailable = 3 // not permitted, or not available here
)

// exitError is an error from within a command, with its exit code. An error of any other type comes from cobra: wrong
// usage.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// refused is an error that says why something was not done.
func refused(format string, args ...any) error {
	return &exitError{exitRefused, fmt.Errorf(format, args...)}
}

// wrongUsage is an error in what the operator typed that cobra cannot know of.
func wrongUsage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// errFindings ends a command whose findings are already printed.
var errFindings = &exitError{exitRefused, errors.New("findings")}

// action wraps what a command does, so that its errors are told from cobra's own.
func action(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := do(cmd, args)
		var known *exitError
		if err == nil || errors.As(err, &known) {
			return err
		}
		return &exitError{codeOf(err), err}
	}
}

// codeOf is the exit code of an error that has none: a wrong configuration file is the operator's to mend, unless it
// only may not be read; all else is something that is not to be had here.
func codeOf(err error) int {
	var bad *config.Error
	if errors.As(err, &bad) && !isPermission(err) {
		return exitUsage
	}
	return exitUnavailable
}

// report says on stderr what went wrong, and returns the exit code.
func report(stderr io.Writer, cmd *cobra.Command, err error) int {
	var known *exitError
	switch {
	case err == nil:
		return exitDone
	case !errors.As(err, &known):
		fmt.Fprintf(stderr, "ctwarden: %v\nTry: %s --help\n", err, cmd.CommandPath())
		return exitUsage
	case known == errFindings:
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "ctwarden: interrupted")
	default:
		var bad *config.Error
		if errors.As(err, &bad) {
			fmt.Fprintln(stderr, bad)
			break
		}
		fmt.Fprintf(stderr, "ctwarden: %v\n", err)
	}
	return known.code
}
