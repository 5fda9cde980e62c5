package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/config"
)

func newCheckConfigCommand(std stdio) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "check-config [FILE]",
		Short: "Check a configuration file and name every mistake in it",
		Long: `Checks a configuration file and names every mistake in it at once, each with file, line, key, value and what is
allowed. Things that may be right on another machine, such as a credentials file that is not here, are warnings.

Exit code 0: good; 2: mistakes.`,
		Example: "  ctwarden check-config ./ctwarden.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: action(func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				path = args[0]
			}
			return checkConfig(std, path)
		}),
	}
	configFlag(cmd, &path)
	return cmd
}

func checkConfig(std stdio, path string) error {
	cfg, file, err := loadConfig(path)
	if err != nil {
		return err
	}
	mistakes, warnings := cfg.onMachine(file)
	for _, w := range warnings {
		fmt.Fprintln(std.err, "warning: "+w.String())
	}
	if len(mistakes) > 0 {
		return &config.Error{Problems: mistakes}
	}
	if file.Missing {
		_, err = fmt.Fprintf(std.out, "%s: there is no such file; the built-in defaults apply, and they are good\n", file.Path)
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s: good (mode %s, ceiling %d)\n", file.Path, cfg.Mode, cfg.Remediate.Ceiling)
	return err
}
