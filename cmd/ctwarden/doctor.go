package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/doctor"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

func newDoctorCommand(std stdio) *cobra.Command {
	var path, root string
	var out output
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say whether the limit survives a reboot, and what is set up wrong",
		Long: `Says whether the limit in force is what the next boot will have: which line of which file has the last word under
systemd-sysctl and under "sysctl --system", whether the module is loaded in time, whether kube-proxy, tuned or a script
sets another limit, and whether hash, memory and the agent's service fit. Each finding has a stable word (id), a place
and its fix. It only reads, and runs no other program. As another user than root it says what it could not read.

The JSON has "verdict", "survives" (absent where it cannot be told), "limit" and "buckets" (now), "at_boot" with "max",
"by", "buckets", and for "systemd" and "procps" the "max" that each ends with, the line "by" which, and the last line
for each name in "keys"; "module" ("state", "by", and "early", absent likewise); "findings" with "id", "severity"
(problem, advice or unknown), "what", "why", "where" and "fix"; "notes"; "unknown".

Exit code 0: no findings; 1: findings; 2: wrong usage or configuration; 3: not available here.`,
		Example: "  ctwarden doctor\n  ctwarden doctor -o json | jq -r '.findings[].id'\n  ctwarden doctor --root /mnt/image",
		Args:    cobra.NoArgs,
		RunE: action(func(*cobra.Command, []string) error {
			c, err := doctorConfig(path, root)
			if err != nil {
				return err
			}
			return examine(std, out, c)
		}),
	}
	cmd.Flags().StringVar(&root, "root", "/", "examine the system below this `directory`, such as an image")
	// The only error is a flag that does not exist.
	_ = cmd.MarkFlagDirname("root")
	configFlag(cmd, &path)
	out.flag(cmd, "text", "json")
	return cmd
}

func examine(std stdio, out output, c doctor.Config) error {
	facts, err := doctor.Read(c)
	if err != nil {
		return err
	}
	report := doctor.Judge(facts)
	if out.json() {
		err = writeJSON(std.out, report)
	} else {
		err = writeDoctor(&terminal{w: std.out}, columns(std.out), report)
	}
	if err == nil && len(report.Findings) > 0 {
		return errFindings
	}
	return err
}

// doctorConfig is what doctor is to know of the agent. A usual file that is wrong is a finding, one that was named a
// mistake of the operator's.
func doctorConfig(path, root string) (doctor.Config, error) {
	if fi, err := os.Stat(root); err != nil || !fi.IsDir() {
		return doctor.Config{}, wrongUsage("--root %s: there is no such directory", root)
	}
	root = filepath.Clean(root)
	cfg, file, err := loadConfigBelow(path, root)
	c := doctor.Config{Root: root, User: os.Geteuid(), Now: time.Now(), File: defaultConfigPath}
	if path != "" {
		c.File = path
	}
	var bad *config.Error
	switch {
	case err == nil:
		if root == "/" {
			mistakes, _ := cfg.onMachine(file)
			c.Mistakes = problemTexts(mistakes)
		}
	case path != "" || !errors.As(err, &bad):
		return c, err
	case isPermission(err):
		c.Unread, cfg = bad.Error(), defaultConfig()
	default:
		c.Mistakes, cfg = problemTexts(bad.Problems), defaultConfig()
	}
	c.Policy, c.PersistFile, c.AwaitFleet = cfg.policy(), cfg.Remediate.PersistFile, cfg.Remediate.AwaitFleet
	c.StateDir, c.RuntimeDir = cfg.StateDir, cfg.RuntimeDir
	if c.AwaitFleet && root == "/" {
		c.Running = runningMode(cfg)
	}
	places := apply.HoldPlaces{StateDir: filepath.Join(root, cfg.StateDir), RuntimeDir: filepath.Join(root, cfg.RuntimeDir)}
	if c.Hold, err = places.Held(c.Now); err != nil {
		c.HoldUnread = err.Error()
	}
	if c.Hold == nil {
		places.Fleet = true
		if c.Hold, err = places.Held(c.Now); err != nil {
			c.HoldUnread = err.Error()
		}
	}
	return c, nil
}

// runningMode is the mode in which the agent is now; empty: it does not answer.
func runningMode(cfg Config) remediate.Mode {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	st, err := agent.NewClient(agent.ControlSocket(cfg.RuntimeDir)).Status(ctx)
	if err != nil {
		return ""
	}
	return st.Mode
}

// loadConfigBelow is loadConfig with the usual file below a root.
func loadConfigBelow(path, root string) (Config, *config.File, error) {
	if path != "" || root == "/" {
		return loadConfig(path)
	}
	cfg := defaultConfig()
	file, err := config.LoadDefault(filepath.Join(root, defaultConfigPath), &cfg)
	return cfg, file, err
}

func problemTexts(problems []config.Problem) (out []string) {
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}
