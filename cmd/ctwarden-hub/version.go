package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/release"
)

func newVersionCommand(stdout io.Writer) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "version", Short: "Prints the version", Args: cobra.NoArgs, Example: "  ctwarden-hub version -o json",
		RunE: action(func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
				Arch    string `json:"arch"`
			}{versionString(), runtime.Version(), runtime.GOARCH}
			switch output {
			case "json":
				return json.NewEncoder(stdout).Encode(v)
			case "text":
				_, err := fmt.Fprintf(stdout, "ctwarden-hub %s (%s, %s)\n", v.Version, v.Go, v.Arch)
				return err
			}
			return fmt.Errorf("%w: -o %s; one of text, json", errUsage, output)
		}),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "output format: text, json")
	return cmd
}

// versionString is this program's version.
func versionString() string { return release.Version(version) }
