package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/release"
)

// newRoot builds the tree of commands.
func newRoot(std stdio) *cobra.Command {
	root := &cobra.Command{
		Use:   "ctwarden",
		Short: "Keeps a Linux host from refusing connections because its connection-tracking table is full",
		Long: `ctwarden watches the kernel log for "nf_conntrack: table full, dropping packet", checks each match against the
kernel's own counters, and raises the limit in guarded steps where it is allowed to.

Exit codes: 0 done, 1 findings or refused (the reason is named), 2 wrong usage or configuration, 3 not permitted or
not available here.`,
		Example:       "  ctwarden status\n  ctwarden replay /var/log/kern.log",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprint(std.err, cmd.UsageString())
			return errors.New("no command is named")
		},
	}
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.AddCommand(
		newRunCommand(std), newCheckConfigCommand(std), newStatusCommand(std), newRaiseCommand(std), newRevertCommand(std),
		newHoldCommand(std), newUnholdCommand(std), newDoctorCommand(std), newReplayCommand(std), newEventsCommand(std),
		newVersionCommand(std),
	)
	root.AddCommand(newPersistHelperCommand(std)) // hidden
	return root
}

func newVersionCommand(std stdio) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, Example: "  ctwarden version -o json",
		RunE: action(func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
				Arch    string `json:"arch"`
			}{versionString(), runtime.Version(), runtime.GOARCH}
			if out.json() {
				return writeJSON(std.out, v)
			}
			_, err := fmt.Fprintf(std.out, "ctwarden %s (%s, %s)\n", v.Version, v.Go, v.Arch)
			return err
		}),
	}
	out.flag(cmd, "text", "json")
	return cmd
}

// versionString is this program's version.
func versionString() string { return release.Version(version) }

// output is the flag -o. Its zero value is not a format; flag sets the default.
type output struct {
	format  string
	allowed []string
}

// flag adds -o to cmd; the first of allowed is the default.
func (o *output) flag(cmd *cobra.Command, allowed ...string) {
	o.format, o.allowed = allowed[0], allowed
	cmd.Flags().VarP(o, "output", "o", "output format: "+strings.Join(allowed, ", "))
	// The only error is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
}

func (o *output) json() bool { return o.format == "json" }

// String implements pflag.Value.
func (o *output) String() string { return o.format }

// Type implements pflag.Value.
func (o *output) Type() string { return "format" }

// Set implements pflag.Value.
func (o *output) Set(s string) error {
	if !slices.Contains(o.allowed, s) {
		return fmt.Errorf("must be one of %s", strings.Join(o.allowed, ", "))
	}
	o.format = s
	return nil
}

// configFlag adds --config to cmd.
func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "config", "", "configuration `file` (default "+defaultConfigPath+", or the built-in defaults where that is not there)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
}

// writeJSON prints v indented, for people and for jq alike.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func isPermission(err error) bool { return errors.Is(err, fs.ErrPermission) }
