package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// maxHold is the longest hold with an end.
const maxHold = 366 * day

func newHoldCommand(std stdio) *cobra.Command {
	var path string
	var length time.Duration
	var out output
	cmd := &cobra.Command{
		Use:   "hold [--for DURATION]",
		Short: "Stop all automatic writes",
		Long: `Stops all automatic writes, for a while or until "ctwarden unhold". It is a plain file in state_dir, so it works
whatever state the agent is in, also before it starts. A hold that the fleet orders (ctwarden-hub hold) is another file
beside it; each holds, and neither releases the other. Where state_dir cannot be written (its disk is full, read-only or
does not answer) it goes to runtime_dir, which is in memory, where the next boot ends it; that is said. An agent that runs
moves it to state_dir as soon as that takes it. Detection and publication go on.`,
		Example: "  ctwarden hold --for 2h\n  ctwarden hold",
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("for") && (length < time.Second || length > maxHold) {
				return wrongUsage("--for %s: must be from 1s to %dh; without it the hold has no end", length, int(maxHold.Hours()))
			}
			return hold(cmd.Context(), std, out, path, length.Truncate(time.Second))
		}),
	}
	cmd.Flags().DurationVar(&length, "for", 0, "how long, such as 30m or 2h (default until unhold)")
	configFlag(cmd, &path)
	out.flag(cmd, "text", "json")
	return cmd
}

func hold(ctx context.Context, std stdio, out output, path string, length time.Duration) error {
	cfg, err := holdConfig(std, path)
	if err != nil {
		return err
	}
	h := remediate.Hold{Since: time.Now().UTC().Truncate(time.Second), By: whoAsks()}
	until := `until "ctwarden unhold"`
	if length > 0 {
		h.Until = h.Since.Add(length)
		until = "until " + h.Until.Local().Format(time.DateTime+" MST")
	}
	places := cfg.holdPlaces()
	unkept, err := places.Set(h)
	text := "held: no automatic writes " + until
	if unkept == nil {
		text += fmt.Sprintf(" (%s/%s)", cfg.StateDir, apply.HoldFile)
	}
	text += places.Unkept(unkept, h.Since)
	return heldOr(ctx, std, out, cfg, err, text, agent.Command{Verb: agent.VerbHold, For: length, By: h.By})
}

func newUnholdCommand(std stdio) *cobra.Command {
	var path string
	var out output
	cmd := &cobra.Command{
		Use: "unhold", Short: "Allow automatic writes again", Args: cobra.NoArgs, Example: "  ctwarden unhold",
		Long: `Removes the host's own hold from state_dir and from runtime_dir. One that the fleet ordered stays: it is said whose it
is and how it is released, which is by ctwarden-hub unhold. Where the one in state_dir cannot be removed, or its disk does
not answer for two seconds, nothing is released, now or later, and the exit code is 3.`,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			cfg, err := holdConfig(std, path)
			if err != nil {
				return err
			}
			was, err := cfg.holdPlaces().Clear()
			text := "released: automatic writes are allowed again"
			if !was {
				text = fmt.Sprintf("there was no hold (%s/%s, %s/%[2]s)", cfg.StateDir, apply.HoldFile, cfg.RuntimeDir)
			}
			text += agent.FleetHolds(cfg.StateDir, cfg.RuntimeDir, time.Now())
			return heldOr(cmd.Context(), std, out, cfg, err, text, agent.Command{Verb: agent.VerbUnhold, By: whoAsks()})
		}),
	}
	configFlag(cmd, &path)
	out.flag(cmd, "text", "json")
	return cmd
}

// holdPlaces are where a hold may be.
func (c *Config) holdPlaces() apply.HoldPlaces {
	return apply.HoldPlaces{StateDir: c.StateDir, RuntimeDir: c.RuntimeDir}
}

// fleetHoldPlaces are where the fleet's hold may be.
func (c *Config) fleetHoldPlaces() apply.HoldPlaces {
	return apply.HoldPlaces{StateDir: c.StateDir, RuntimeDir: c.RuntimeDir, Fleet: true}
}

// holdConfig is the configuration as far as a hold needs it. A file with mistakes must not keep an operator from holding:
// then its state_dir and runtime_dir count all the same, or the defaults where it has none that can be used.
func holdConfig(std stdio, path string) (Config, error) {
	cfg, _, err := loadConfig(path)
	var bad *config.Error
	if !errors.As(err, &bad) || isPermission(err) || errors.Is(err, fs.ErrNotExist) {
		return cfg, err
	}
	if path == "" {
		path = defaultConfigPath
	}
	text, unread := os.ReadFile(path)
	if unread != nil {
		return cfg, err
	}
	cfg = defaultConfig()
	for key, dir := range map[string]*string{"state_dir": &cfg.StateDir, "runtime_dir": &cfg.RuntimeDir} {
		if found := topLevel(text, key); filepath.IsAbs(found) && filepath.Clean(found) != "/" {
			*dir = found
		}
	}
	fmt.Fprintf(std.err, "warning: %s has mistakes (ctwarden check-config names them); only state_dir and runtime_dir are taken from it: %s, %s\n",
		path, cfg.StateDir, cfg.RuntimeDir)
	return cfg, nil
}

// topLevel is the value of a key at the beginning of a line, whatever the rest of the file looks like; the first one
// counts. Empty: there is none, or none that is one plain value.
func topLevel(text []byte, key string) string {
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte(key+":")) {
			continue
		}
		var value map[string]string
		if yaml.Unmarshal(line, &value) != nil {
			return ""
		}
		return value[key]
	}
	return ""
}

// heldOr prints what was done with the file. Where this user may not write there, the agent is asked to do it.
func heldOr(ctx context.Context, std stdio, out output, cfg Config, err error, text string, c agent.Command) error {
	if err == nil {
		return answer(std, out, agent.Reply{Done: true, Text: text})
	}
	if !isPermission(err) {
		return err
	}
	reply, asked := agent.NewClient(cfg.controlSocket()).Do(ctx, c)
	if asked != nil {
		return fmt.Errorf("not permitted; run as root: %s/%s: %w (and over the control socket: %w)", cfg.StateDir, apply.HoldFile, err, asked)
	}
	return answer(std, out, reply)
}
