package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/persist"
	"github.com/ctwarden/ctwarden/remediate"
)

// heapGoal is where the garbage collector begins to work harder, in bytes: the agent is to stay below 64 MB with all
// that is not the heap.
const heapGoal = 36 << 20

// heapGarbage is how much garbage the heap may hold, in percent of what is in use; with the default of 100 it grows to
// 4 MB at least, which is 2 MB more than an idle agent needs.
const heapGarbage = 50

// processors is how many CPUs the agent's own code uses at once at most. The runtime keeps memory for each, and looks
// through all of them whenever it is idle: with 64 an idle agent takes 3 MB more.
const processors = 2

func newRunCommand(std stdio) *cobra.Command {
	var path, mode, socket string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the agent",
		Long: `Runs the agent in the foreground, as systemd wants it: it says when it is ready, re-reads its configuration on
SIGHUP, and stops within five seconds on SIGTERM with nothing lost. In observe mode, the default, it changes nothing.`,
		Example: "  ctwarden run\n  ctwarden run --config ./ctwarden.yaml --mode remediate",
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if mode != "" && mode != string(remediate.ModeObserve) && mode != string(remediate.ModeRemediate) {
				return wrongUsage("--mode %s: must be observe or remediate", mode)
			}
			return runCommand(cmd.Context(), std, settings{path: path, mode: remediate.Mode(mode), persistSocket: socket})
		}),
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&socket, "persist-socket", persist.DefaultSocket, "where root's helper writes remediate.persist_file, if the agent may not")
	// The only error is a flag that does not exist.
	_ = cmd.Flags().MarkHidden("persist-socket")
	cmd.Flags().StringVar(&mode, "mode", "", "observe or remediate; takes precedence over the file's `mode`")
	// The only error is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"observe", "remediate"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func runCommand(ctx context.Context, std stdio, s settings) error {
	s.level = zap.NewAtomicLevel()
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapGoal)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGarbage)
	}
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) > processors {
		runtime.GOMAXPROCS(processors)
	}
	log, flush := newAgentLogger(std.err, s.level)
	defer flush()
	s.log = log
	// Before anything else, since an unexpected SIGHUP ends the program. Capacity 1: a second one while one waits asks
	// for nothing more.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	cfg, err := s.load()
	if err != nil {
		return err
	}
	return s.runAgent(ctx, cfg, hup)
}

// settings is where the configuration comes from, at the start and at each reload.
type settings struct {
	path  string
	mode  remediate.Mode // empty: as the file says
	level zap.AtomicLevel
	log   *zap.Logger

	persistSocket string
}

// load reads the configuration, says what it stumbles over, and sets the log's level.
func (s settings) load() (agent.Config, error) {
	cfg, file, err := loadConfig(s.path)
	if err != nil {
		return agent.Config{}, err
	}
	mistakes, warnings := cfg.onMachine(file)
	if len(mistakes) > 0 {
		return agent.Config{}, &config.Error{Problems: mistakes}
	}
	if file.Missing {
		s.log.Info("no configuration file, built-in defaults apply", zap.String("path", file.Path))
	}
	for _, w := range warnings {
		s.log.Warn("configuration", zap.String("problem", w.String()))
	}
	if s.mode != "" {
		cfg.Mode = s.mode
	}
	if err := s.level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		return agent.Config{}, fmt.Errorf("log.level: %w", err)
	}
	converted, err := cfg.agent(s.log)
	converted.PersistSocket = s.persistSocket
	return converted, err
}

// runAgent runs the agent until ctx is done, and has it take over a changed configuration on each signal.
func (s settings) runAgent(ctx context.Context, cfg agent.Config, hup <-chan os.Signal) (err error) {
	a, err := agent.Open(ctx, cfg)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		s.log.Info("stopped before the state file was read; nothing was begun")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error {
		slim(ctx, s.log)
		return nil
	})
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-hup:
				s.reload(ctx, a)
			}
		}
	})
	return g.Wait()
}

// reload hands a changed configuration to the agent. One with mistakes leaves the running one in force.
func (s settings) reload(ctx context.Context, a *agent.Agent) {
	cfg, err := s.load()
	if err != nil {
		s.log.Error("configuration not reloaded, the running one stays in force", zap.Error(err))
		return
	}
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	restart, err := a.Reload(within, cfg)
	switch {
	case err != nil:
		s.log.Error("configuration not reloaded, the running one stays in force", zap.Error(err))
	case len(restart) > 0:
		s.log.Warn("some changes take effect at the next start", zap.String("keys", strings.Join(restart, ", ")))
	}
}
