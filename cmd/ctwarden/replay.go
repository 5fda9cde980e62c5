package main

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/replay"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// replayFlags are the flags of replay as given.
type replayFlags struct {
	config   string
	journals []string
	host     string
	limit    uint64
	year     int
	out      output
}

// replayGarbage is how much garbage may gather before it is collected, in percent of what is kept.
const replayGarbage = 30

func newReplayCommand(std stdio) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay [FILE]...",
		Short: "Say what ctwarden would have done about the logs of the past",
		Long: `Runs matching, correlation and the policy over past syslog files (plain, .gz, .xz or .zst; - is standard input),
dmesg output or journal directories, and says what would have been done, supposing that the table was full at each
message and the limit was --limit at the first. It changes nothing and needs no root.

The pieces of a rotated log that are given together (kern.log, kern.log.1, kern.log.2.gz, kern.log-20260301) count as
one log. Of different logs, which usually hold the same records, the one with the most messages counts.`,
		Example: `  ctwarden replay /var/log/kern.log*
  ctwarden replay --journal /var/log/journal -o json
  zcat kern.log.2.gz | ctwarden replay --host '*' --year 2019 -o html - > report.html`,
		RunE: action(func(cmd *cobra.Command, files []string) error { return f.run(cmd, std, files) }),
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.journals, "journal", nil, "also read the journal files in this `directory`; may be repeated")
	flags.StringVar(&f.host, "host", "", "count this host's records only; '*' counts those of all `hosts` (default this host)")
	flags.Uint64Var(&f.limit, "limit", replay.DefaultLimit, "the limit at the first message, in `entries`")
	flags.IntVar(&f.year, "year", 0, "the `year` of the first line, where lines have none (default the latest that fits)")
	configFlag(cmd, &f.config)
	f.out.flag(cmd, "text", "json", "html")
	return cmd
}

func (f *replayFlags) run(cmd *cobra.Command, std stdio, files []string) error {
	switch {
	case len(files) == 0 && len(f.journals) == 0:
		return wrongUsage("name at least one file, - for standard input, or --journal DIR")
	case f.limit < 1 || f.limit > math.MaxInt32:
		return wrongUsage("--limit %d: must be from 1 to %d entries", f.limit, math.MaxInt32)
	case f.year != 0 && (f.year < 1991 || f.year > time.Now().Year()+1):
		return wrongUsage("--year %d: must be from 1991 to %d", f.year, time.Now().Year()+1)
	}
	cfg, err := usableConfig(std, f.config)
	if err != nil {
		return err
	}
	host := f.host
	if host == "" {
		if host, err = cfg.hostName(); err != nil {
			return err
		}
	}
	// It costs little time, since little is kept, and keeps the memory below 50 MB.
	debug.SetGCPercent(replayGarbage)
	policy := cfg.policy()
	policy.Mode = remediate.ModeRemediate
	var inputs []replay.Input
	for _, dir := range f.journals {
		inputs = append(inputs, replay.Input{Path: dir, Journal: true})
	}
	for _, file := range files {
		inputs = append(inputs, replay.Input{Path: file})
	}
	report, err := replay.Run(cmd.Context(), replay.Config{
		Policy: policy, CloseAfter: cfg.Incident.CloseAfter, Limit: f.limit, Host: host, Year: f.year,
		ScanJournal: watcher.ScanJournal,
	}, inputs)
	if cmd.Context().Err() != nil {
		return err
	}
	return errors.Join(err, f.print(std, report))
}

func (f *replayFlags) print(std stdio, report replay.Report) error {
	switch f.out.format {
	case "json":
		return report.WriteJSON(std.out)
	case "html":
		return report.WriteHTML(std.out)
	default:
		return report.WriteText(&terminal{w: std.out})
	}
}

// usableConfig loads the configuration for a command that only reads: where nobody has named the file, one that cannot
// be used does not stop it.
func usableConfig(std stdio, path string) (Config, error) {
	cfg, _, err := loadConfig(path)
	if err == nil || path != "" {
		return cfg, err
	}
	fmt.Fprintf(std.err, "%v\n(the built-in defaults are used)\n", err)
	return defaultConfig(), nil
}
