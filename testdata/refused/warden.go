package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/conntrack"
)

// raisedRate is max_insert_rate on a host that may see more new connections a second than the default is meant for.
const raisedRate = 300_000

// priority is what the agent has by its unit (systemd/ctwarden.service).
const priority = "-5"

// config is the agent's. Beside the ceiling only that is set which keeps a run apart from the host and from the run
// before it.
const config = `
mode: remediate
remediate: {ceiling: %d, memory_share: %.2f, persist_file: %s/persist.conf%[6]s}
sources: {lookback: 0s%[4]s}
metrics: {listen: ""}
state_dir: %[3]s/state
runtime_dir: %[5]s
`

// noLines leaves one source on, as the agent insists: a file that nobody writes to.
const noLines = ", kmsg: {enabled: false}, journal: {enabled: false}, syslog: {files: [%s]}"

// warden is the agent as it is.
func (b *bench) warden(ctx context.Context, s stage) (running, error) {
	return startWarden(ctx, s, b.program, "", "")
}

// raised is the agent with that setting.
func (b *bench) raised(ctx context.Context, s stage) (running, error) {
	return startWarden(ctx, s, b.program, "", fmt.Sprintf(", max_insert_rate: %d", raisedRate))
}

// startWarden starts a program with its settings; sources and policy go on with their lines.
func startWarden(ctx context.Context, s stage, program, sources, policy string) (running, error) {
	share, err := memoryShare()
	if err != nil {
		return running{}, err
	}
	file := filepath.Join(s.dir, "ctwarden.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, config, ceiling, share, s.dir, sources, s.run, policy), 0o600); err != nil {
		return running{}, err
	}
	log, err := os.Create(filepath.Join(s.dir, "agent.log"))
	if err != nil {
		return running{}, err
	}
	defer log.Close()
	p, err := testhost.Launch(log, log, "nice", "-n", priority, program, "run", "--config", file)
	if err != nil {
		return running{}, fmt.Errorf("start the agent: %w", err)
	}
	client := agent.NewClient(agent.ControlSocket(s.run))
	if err := testhost.Poll(ctx, startWithin, func() bool { return watches(ctx, client, s) }); err != nil {
		err = errors.Join(fmt.Errorf("start the agent: %w", err), p.Stop())
		said, _ := os.ReadFile(log.Name()) // empty where it cannot be read
		return running{}, fmt.Errorf("%w:\n%s", err, said)
	}
	return running{stop: p.Stop, steps: func(ctx context.Context) (int, error) { return applied(ctx, client) }}, nil
}

// watches tells whether the agent is past its sources' backlog and reads all namespaces of the run.
func watches(ctx context.Context, client *agent.Client, s stage) bool {
	st, err := client.Status(ctx)
	if err != nil {
		return false
	}
	for _, source := range st.Sources {
		if source.Up && !source.CaughtUp {
			return false
		}
	}
	found := map[uint64]bool{}
	for _, n := range st.NetNS {
		found[n.Inode] = true
	}
	for _, ns := range s.spaces {
		if !found[ns.Inode] {
			return false
		}
	}
	return true
}

// applied is the number of steps that the agent took.
func applied(ctx context.Context, client *agent.Client) (int, error) {
	st, err := client.Status(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, total := range st.StepsTotal {
		if total.Result == "applied" {
			n += int(total.Count)
		}
	}
	return n, nil
}

// memoryShare is the default, or where this machine has so little memory that it would hold steps below the ceiling
// back, what the ceiling takes.
func memoryShare() (float64, error) {
	usual := remediate.DefaultPolicy().MemoryShare
	table, err := conntrack.Open("/", time.Now)
	if err != nil {
		return 0, err
	}
	defer table.Close()
	m, err := table.Memory()
	if err != nil {
		return 0, err
	}
	need := 1.1 * ceiling * float64(m.EntryBytes) / float64(m.Total)
	return min(max(usual, need), 0.5), nil
}

// lines is the agent that is led by lines alone: each still has it read the counters, and nothing else does.
func (b *bench) lines(ctx context.Context, s stage) (running, error) {
	program, err := b.sampling(ctx, "time.Hour")
	if err != nil {
		return running{}, err
	}
	return startWarden(ctx, s, program, "", "")
}

// secondly is the agent that samples once a second and reads no lines.
func (b *bench) secondly(ctx context.Context, s stage) (running, error) {
	program, err := b.sampling(ctx, "time.Second")
	if err != nil {
		return running{}, err
	}
	empty := filepath.Join(s.dir, "empty.log")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		return running{}, err
	}
	return startWarden(ctx, s, program, fmt.Sprintf(noLines, empty), "")
}

// sampling is the program whose readings are so far apart, built from this source with one line more.
func (b *bench) sampling(ctx context.Context, period string) (program string, err error) {
	program = filepath.Join(b.scratch, "ctwarden-"+period)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	source, err := filepath.Abs("remediate/sampling.go")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return "", fmt.Errorf("build the agent that samples otherwise, from the root of its source: %w", err)
	}
	begin := regexp.MustCompile(`(?m)^func SamplePeriod\(.*\) time\.Duration \{$`)
	if n := len(begin.FindAllIndex(text, -1)); n != 1 {
		return "", fmt.Errorf("%s has %d functions SamplePeriod, want one", source, n)
	}
	changed, overlay := filepath.Join(b.scratch, "sampling.go"), filepath.Join(b.scratch, "overlay.json")
	err = errors.Join(
		os.WriteFile(changed, begin.ReplaceAll(text, []byte("${0}\n\treturn "+period+"\n")), 0o600),
		os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%q: %q}}`, source, changed), 0o600))
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", program, "./cmd/ctwarden").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the agent that samples otherwise: %w: %s", err, out)
	}
	return program, nil
}
