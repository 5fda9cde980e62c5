package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// stormConfig lets steps recur: nothing but the ceiling holds one back.
const stormConfig = `
mode: remediate
site: e2e
incident: {close_after: 1s, update_every: 1s, pressure: 0.97}
remediate: {ceiling: 40000, max_insert_rate: 1000, steps_per_hour: 3600, foreign_pause: 0s, persist_file: PERSIST}
sources: {lookback: 0s, kmsg: {enabled: true}, journal: {enabled: false}, syslog: {enabled: false}}
nats: {servers: ["nats://ADDRESS"]}
`

const (
	// stormLimit is what the limit is lowered to again and again.
	stormLimit = 5000
	// stormLife is how long the agent lives at most; one in longLives lives up to stormLongLife, so that steps settle.
	stormLife     = 1500 * time.Millisecond
	stormLongLife = 5 * time.Second
	longLives     = 8
)

// A storm is a namespace that is kept full, an agent that is killed again and again, and a hub that is too.
type storm struct {
	*agentProcess
	lock    *testkernel.Lock
	ns      *testkernel.Namespace
	rng     *rand.Rand
	address string
	store   string
	hub     *process // nil: it is down
	before  *process // the agent's last life but one

	// gate is held while no packet may be sent.
	gate sync.Mutex
	shut bool

	kills, hubKills, lowered, flushed int
	// unsaved is what was refused in lives that ended with no incident saved as open: the kill came before the first
	// commit of it.
	unsaved uint64
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	s := &storm{
		lock: testkernel.Hold(t), ns: testkernel.Scratch(t), rng: testhost.Rand(t),
		address: keptAddress(t), store: t.TempDir(),
	}
	setMax(t, s.lock, stormLimit)
	s.agentProcess = newAgent(t, t.TempDir(), strings.Replace(stormConfig, "ADDRESS", s.address, 1))
	s.close()
	return s
}

// keptAddress is an address that stays free while nobody listens on it: its port is none that the kernel gives away.
func keptAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10000+rand.IntN(20000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// close shuts the gate: no packet is on its way when it returns.
func (s *storm) close() {
	if !s.shut {
		s.gate.Lock()
		s.shut = true
	}
}

func (s *storm) open() {
	if s.shut {
		s.shut = false
		s.gate.Unlock()
	}
}

// traffic sends new flows whenever the gate is open, until done is closed.
func (s *storm) traffic(t *testing.T, done <-chan struct{}) {
	tick := time.NewTicker(15 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		s.gate.Lock()
		_, err := s.ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: 500, Senders: 1})
		s.gate.Unlock()
		if err != nil {
			t.Errorf("send: %v", err)
			return
		}
	}
}

// saved is what the killed agent had saved.
func (s *storm) saved(t *testing.T) (tracker remediate.TrackerState, steps []remediate.Step) {
	t.Helper()
	store, opened, err := state.Open(filepath.Join(s.dir, "state", "state.db"), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if opened.SetAside != "" {
		t.Fatalf("the state file was damaged: %s", opened.Problem)
	}
	snap, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(snap.Tracker) > 0 {
		if err := json.Unmarshal(snap.Tracker, &tracker); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range snap.Steps {
		var step remediate.Step
		if err := json.Unmarshal(r.JSON, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	return tracker, steps
}

// flap kills the hub, or starts it again, at random.
func (s *storm) flap(t *testing.T) {
	t.Helper()
	switch {
	case s.hub == nil && s.rng.IntN(2) == 0:
		s.hub = launch(t, nil, filepath.Join(bin, "ctwarden-hub"), "serve", "--embedded", "--listen", s.address, "--store", s.store)
	case s.hub != nil && s.rng.IntN(5) == 0:
		s.hub.stop(t, syscall.SIGKILL)
		s.hub = nil
		s.hubKills++
	}
}

// lower takes the limit back to where it began, so that steps are due again.
func (s *storm) lower(t *testing.T) {
	t.Helper()
	if limitNow(t) > stormLimit && s.rng.IntN(3) == 0 {
		setMax(t, s.lock, stormLimit)
		s.lowered++
	}
}

// life starts the agent, kills it at a random moment and looks at what is left.
func (s *storm) life(t *testing.T) {
	t.Helper()
	refused := drops(t, s.ns)
	life := time.Duration(s.rng.Int64N(int64(stormLife)))
	if s.rng.IntN(longLives) == 0 {
		life = time.Duration(s.rng.Int64N(int64(stormLongLife)))
	}
	if s.before != nil {
		s.before.output = &lockedBuffer{} // enough is said by the last two where the test fails
	}
	s.before = s.process
	s.process = launch(t, nil, filepath.Join(bin, "ctwarden"), "run", "--config", s.config)
	s.live(t, life)
	s.stop(t, syscall.SIGKILL)
	s.kills++
	s.close()
	tracker, _ := s.saved(t)
	if len(tracker.Open) == 0 {
		s.unsaved += drops(t, s.ns) - refused
		return
	}
	s.open() // what is refused while the agent is away belongs to the incident that it left open
}

// live lets the agent live so long. Packets come once it has read the namespace, which is emptied at times while an
// incident is open in it, and left in peace then, so that the incident may close.
func (s *storm) live(t *testing.T, life time.Duration) {
	t.Helper()
	empty, rest := s.rng.IntN(3) == 0, false
	end := time.NewTimer(life)
	defer end.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	client := agent.NewClient(agent.ControlSocket(filepath.Join(s.dir, "run")))
	for {
		select {
		case <-end.C:
			return
		case <-s.ended:
			t.Fatalf("the agent ended by itself:\n%s", s.output)
		case <-look.C:
		}
		if !s.shut && !empty {
			continue
		}
		now, err := client.Status(t.Context())
		if err != nil {
			continue // not up yet
		}
		for _, n := range now.NetNS {
			if n.Inode == s.ns.Inode && !rest {
				s.open()
			}
		}
		for _, i := range now.Incidents {
			if empty && i.NetNS.Inode == s.ns.Inode && i.Severity == remediate.SeverityCritical {
				s.flush(t)
				empty, rest = false, s.rng.IntN(2) == 0
			}
		}
	}
}

// flush empties the namespace, and leaves the gate shut.
func (s *storm) flush(t *testing.T) {
	t.Helper()
	s.close()
	if err := s.ns.Flush(); err != nil {
		t.Fatal(err)
	}
	s.flushed++
}

// TestPromiseStorm kills the agent at random moments of one incident after another, with a hub that is killed too, and
// the limit lowered by somebody else. When it is over, every incident and every step was delivered once, all that the
// kernel refused is in an incident, and kernel, journal of steps and file agree.
func TestPromiseStorm(t *testing.T) {
	s := newStorm(t)
	done := make(chan struct{}) // closed when no more packets are wanted
	var sending sync.WaitGroup
	sending.Go(func() { s.traffic(t, done) })
	stop := sync.OnceFunc(func() { s.open(); close(done); sending.Wait() })
	defer stop()
	for range testhost.Amount(25, 220) {
		s.flap(t)
		s.lower(t)
		s.life(t)
	}
	s.close()
	h := s.settle(t)
	s.lastStep(t)
	stop()
	s.check(t, h)
}
