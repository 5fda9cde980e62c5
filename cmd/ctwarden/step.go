package main

import (
	"math"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
)

func newRaiseCommand(std stdio) *cobra.Command {
	var path string
	var to uint64
	var out output
	cmd := &cobra.Command{
		Use:   "raise --to N",
		Short: "Raise the limit by hand, through the same guards",
		Long: `Raises the limit to N entries, with the guards of an automatic step: never above remediate.ceiling, within
remediate.memory_share, never downwards. It works in observe mode and while automatic writes are held, since an
operator asks. The running agent does it; where none runs, this command does it itself and needs root.

Exit code 0: raised; 1: refused, with the reason; 3: not permitted, or there is no table here.`,
		Example: "  ctwarden raise --to 262144",
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if to < 1 || to > math.MaxInt32 {
				return wrongUsage("--to %d: must be from 1 to %d entries", to, math.MaxInt32)
			}
			return give(cmd, std, out, path, agent.Command{Verb: agent.VerbRaise, To: to})
		}),
	}
	cmd.Flags().Uint64Var(&to, "to", 0, "the new limit, in `entries`")
	// The only error is a flag that does not exist.
	_ = cmd.MarkFlagRequired("to")
	configFlag(cmd, &path)
	out.flag(cmd, "text", "json")
	return cmd
}

func newRevertCommand(std stdio) *cobra.Command {
	var path string
	var all bool
	var out output
	cmd := &cobra.Command{
		Use:   "revert [--all]",
		Short: "Take back what ctwarden wrote",
		Long: `Takes back ctwarden's last step, or all of them. It is done only where the limit is still the one that ctwarden
wrote, and never below what is in use. The sysctl.d file is brought in line, and removed with the first step.

Exit code 0: taken back; 1: refused, with the reason.`,
		Example: "  ctwarden revert\n  ctwarden revert --all",
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			return give(cmd, std, out, path, agent.Command{Verb: agent.VerbRevert, All: all})
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "take back every step, to the limit before the first")
	configFlag(cmd, &path)
	out.flag(cmd, "text", "json")
	return cmd
}

// give loads the configuration, has the order carried out and prints the answer.
func give(cmd *cobra.Command, std stdio, out output, path string, c agent.Command) error {
	cfg, _, err := loadConfig(path)
	if err != nil {
		return err
	}
	c.By = whoAsks()
	reply, err := order(cmd.Context(), std, cfg, c)
	if err != nil {
		return err
	}
	return answer(std, out, reply)
}
