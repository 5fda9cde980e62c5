package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/testhost"
)

// persistFile is where ctwarden keeps the limit by default.
const persistFile = "/etc/sysctl.d/99-zz-ctwarden.conf"

// startWithin bounds the start of each program, waitFor the wait for an event.
const (
	startWithin = 15 * time.Second
	waitFor     = 60 * time.Second
)

// programs are the hub and the agent as they run.
type programs struct {
	hub, agent testhost.Program
	lines      *lines
}

// config has the agent believe that this host makes at most ten thousand connections a second, so that it need not
// look more than once a second; the burst makes some hundred thousand, more than any reading can foresee.
const config = `
mode: remediate
site: demo
incident: {pressure: 0.97, close_after: 10s}
remediate: {ceiling: %d, max_insert_rate: 10000}
sources: {lookback: 0s}
nats: {servers: ["%s"]}
metrics: {listen: ""}
state_dir: %s/state
runtime_dir: %s/run
`

// start runs the hub with its own NATS server, and the agent in remediate mode, and waits until the agent watches the
// namespace.
func (d demo) start(ctx context.Context) (*programs, error) {
	p := &programs{lines: newLines()}
	out, in := io.Pipe()
	go p.lines.read(out)
	var err error
	p.hub, err = testhost.Launch(in, nil, filepath.Join(d.bin, "ctwarden-hub"), "serve", "--embedded", "--listen", "127.0.0.1:0",
		"--store", filepath.Join(d.scratch, "hub"))
	if err != nil {
		return nil, fmt.Errorf("start the hub: %w", err)
	}
	if err := p.wait(ctx, "ready at "); err != nil {
		return nil, errors.Join(fmt.Errorf("start the hub: %w", err), p.stop())
	}
	_, url, _ := strings.Cut(p.lines.find("ready at "), "ready at ")
	file := filepath.Join(d.scratch, "ctwarden.yaml")
	text := fmt.Sprintf(config, 2*d.limit, url, d.scratch, d.scratch)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	log, err := os.Create(filepath.Join(d.scratch, "agent.log"))
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	defer log.Close()
	p.agent, err = testhost.Launch(log, log, filepath.Join(d.bin, "ctwarden"), "run", "--config", file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the agent: %w", err), p.stop())
	}
	if err := d.watched(ctx); err != nil {
		show(log.Name())
		return nil, errors.Join(fmt.Errorf("start the agent: %w", err), p.stop())
	}
	return p, nil
}

// watched waits until the agent has caught up with its sources and reads the namespace.
func (d demo) watched(ctx context.Context) error {
	client := agent.NewClient(agent.ControlSocket(filepath.Join(d.scratch, "run")))
	return testhost.Poll(ctx, startWithin, func() bool {
		s, err := client.Status(ctx)
		if err != nil {
			return false
		}
		for _, n := range s.NetNS {
			if n.Inode == d.ns.Inode {
				return s.NATS.Connected
			}
		}
		return false
	})
}

// wait waits for a line of the hub that holds the text.
func (p *programs) wait(ctx context.Context, text string) error {
	if err := testhost.Poll(ctx, waitFor, func() bool { return p.lines.find(text) != "" }); err != nil {
		return fmt.Errorf("wait for %q: %w", text, err)
	}
	return nil
}

// stop ends both, the agent first, so that what it says last still arrives.
func (p *programs) stop() error {
	return errors.Join(p.agent.Stop(), p.hub.Stop())
}

// lines prints what the hub prints, and remembers it.
type lines struct {
	mu   sync.Mutex
	seen []string
}

func newLines() *lines { return &lines{} }

func (l *lines) read(r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
		fmt.Println(s.Text())
		l.mu.Lock()
		l.seen = append(l.seen, s.Text())
		l.mu.Unlock()
	}
}

func (l *lines) find(text string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.seen {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}
