package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// crash is what a test panics with in the place of a kill.
type crash struct{}

// A fragile host is one whose agent is killed at a stage, counted over all stages of a life from 1; 0: never.
type fragile struct {
	scratch
	stages  []string // as far as the life got
	killAt  int
	refused int
}

func newFragile(t *testing.T) *fragile {
	t.Helper()
	f := &fragile{scratch: newScratch(t)}
	f.cfg.NATS.Servers = []string{"nats://127.0.0.1:1"} // nobody dials it: it turns the outbox on
	f.cfg.CloseAfter = 10 * time.Second
	f.cfg.Policy.Decay = time.Minute
	f.cfg.Fail = func(stage string) {
		f.stages = append(f.stages, stage)
		if len(f.stages) == f.killAt {
			panic(crash{})
		}
	}
	return f
}

// traffic sets what the kernel shows beside the limit.
func (f *fragile) traffic(t *testing.T, count, refused int) {
	t.Helper()
	f.refused = refused
	f.put(t, "proc/sys/net/netfilter/nf_conntrack_count", fmt.Sprintln(count))
	f.put(t, "proc/777/net/stat/nf_conntrack", fmt.Sprintf(scratchStat, count, refused))
}

// move goes on with a copy of the state, since an agent that a panic ends keeps the file locked.
func (f *fragile) move(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(f.cfg.StateDir))); err != nil {
		t.Fatal(err)
	}
	f.cfg.StateDir, f.cfg.RuntimeDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
}

// live opens an agent and lets it do something, unless it is killed before the end. It tells whether it was.
func (f *fragile) live(t *testing.T, killAt int, do func(a *Agent)) (killed bool) {
	t.Helper()
	f.stages, f.killAt = nil, killAt
	f.move(t)
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			killed = true
		}
	}()
	a, err := Open(t.Context(), f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	a.disk.inline = true
	do(a)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	return false
}

// pass lets so many seconds pass, with what the loop and the recorder do in each.
func (a *Agent) pass(seconds int) {
	for range 4 * seconds {
		elapse(250 * time.Millisecond)
		a.turn()
	}
}

// turn is one turn of the loop, and the recorder's work after it.
func (a *Agent) turn() {
	a.sample()
	for range 2 { // the first turn writes the sysctl.d file, the second saves what came of it
		a.save(false)
		a.recorder.work(context.Background())
	}
}

// crashActs are what an agent is killed in: what comes before, and what it does then.
func crashActs(t *testing.T, f *fragile) map[string][2]func(a *Agent) {
	refuse := func(a *Agent) {
		a.turn()
		f.traffic(t, 65536, 500)
		elapse(time.Second)
		a.turn()
	}
	raise := func(a *Agent) {
		a.turn()
		a.raise(131072)
		a.turn()
	}
	return map[string][2]func(a *Agent){
		"step": {func(*Agent) {}, func(a *Agent) { refuse(a); f.traffic(t, 65600, 600) }},
		"persist": {
			func(a *Agent) { refuse(a); f.traffic(t, 65600, 600) },
			func(a *Agent) { a.pass(4) },
		},
		"ineffective": {refuse, func(a *Agent) {
			for i := range 16 { // half full, and 1,000 a second go on being dropped
				f.traffic(t, 40000, 600+250*i)
				elapse(250 * time.Millisecond)
				a.turn()
			}
		}},
		"revert": {
			func(a *Agent) { raise(a); a.pass(4) },
			func(a *Agent) {
				a.turn()
				if _, rest := a.revert(false); rest != nil {
					a.recorder.do(func() { rest() })
				}
				a.turn()
			},
		},
		"decay": {
			func(a *Agent) {
				f.twoSteps(t, a)
				f.traffic(t, 100, f.refused)
				a.pass(12) // the incident is closed
			},
			func(a *Agent) { a.pass(65) },
		},
		"boot": {
			func(a *Agent) {
				raise(a)
				a.pass(4)
				f.table(t, 100, 65536, 0)
				if err := os.RemoveAll(f.cfg.RuntimeDir); err != nil {
					t.Fatal(err)
				}
			},
			func(a *Agent) { a.turn() },
		},
	}
}

// TestCrashAtEveryStage kills the agent at every stage of all that it does with the limit, and in the long form also at
// every stage of the start that follows; the one after that must bring everything into agreement.
func TestCrashAtEveryStage(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // nothing here is about the disk, and every life waits for it many times
	}
	for _, what := range []string{"step", "persist", "ineffective", "revert", "decay", "boot"} {
		t.Run(what, func(t *testing.T) {
			for k := 1; ; k++ {
				more := false
				synctest.Test(t, func(t *testing.T) { more = crashTwice(t, what, k, 0) })
				if !more {
					if k < 5 {
						t.Errorf("only %d stages", k-1)
					}
					return
				}
				if testhost.Long() {
					for j, again := 1, true; again; j++ {
						synctest.Test(t, func(t *testing.T) { again = crashTwice(t, what, k, j) })
					}
				}
			}
		})
	}
}

// crashTwice kills the agent at stage k of what it does, and the next start at stage j. It tells whether there are such
// stages.
func crashTwice(t *testing.T, what string, k, j int) bool {
	f := newFragile(t)
	acts := crashActs(t, f)[what]
	f.live(t, 0, acts[0])
	if !f.live(t, k, acts[1]) {
		return false
	}
	at := f.stages[k-1]
	rest := func(a *Agent) { a.turn(); f.traffic(t, 100, f.refused); a.pass(20) }
	again := j == 0 || f.live(t, j, rest)
	if j > 0 && again {
		at += ", then " + f.stages[j-1]
	}
	f.live(t, 0, rest)
	f.live(t, 0, func(a *Agent) { f.agree(t, a, what+" killed at "+at) })
	return again
}

// agree fails the test unless the kernel, the journal of steps, the file, the intents and the events agree.
func (f *fragile) agree(t *testing.T, a *Agent, when string) {
	t.Helper()
	limit := f.limit(t)
	if old, _ := os.ReadFile(filepath.Join(f.root, "proc/sys/net/nf_conntrack_max")); strings.TrimSpace(string(old)) != limit {
		t.Errorf("%s: limit %s and %s", when, limit, old)
	}
	if left, _ := filepath.Glob(filepath.Join(f.cfg.RuntimeDir, "*intent-*")); len(left) > 0 {
		t.Errorf("%s: left %v", when, left)
	}
	last := remediate.Step{To: 65536}
	for _, s := range a.steps {
		if written(s) {
			last = s
		}
	}
	file, there, err := a.applier.Persisted()
	if fmt.Sprint(last.To) != limit || err != nil || there && file.Max != last.To {
		t.Errorf("%s: limit %s, file %+v %v, last step %+v", when, limit, file, err, last)
	}
	if a.tracker.State().Pending != nil || len(a.tracker.Open()) > 0 {
		t.Errorf("%s: something is still open", when)
	}
	f.tells(t, a, when)
}

// tells fails the test unless the events tell of each written step and of each incident once.
func (f *fragile) tells(t *testing.T, a *Agent, when string) {
	t.Helper()
	events, err := a.disk.store.Load().Peek(0, 10000)
	if err != nil {
		t.Fatal(err)
	}
	times, want := map[string]int{}, []string{}
	for _, ev := range events {
		r, err := notify.Decode(ev.Body)
		if err != nil {
			t.Fatal(err)
		}
		switch d := r.Event.Data.(type) {
		case remediate.Step:
			times[fmt.Sprint(ev.Type, " ", d.ID)]++
			if d.IncidentID != "" {
				want = append(want, "incident.opened "+d.IncidentID, "incident.closed "+d.IncidentID)
			}
		case remediate.Incident:
			if ev.Type != remediate.EventIncidentUpdated {
				times[fmt.Sprint(ev.Type, " ", d.ID)]++
			}
		}
	}
	for _, s := range a.steps {
		switch {
		case !written(s):
		case s.ID != apply.UndoneID(s.ID):
			want = append(want, "step.reverted "+s.ID)
		default:
			want = append(want, "step.applied "+s.ID)
		}
	}
	for _, what := range want {
		times[what] += 0 // none is worth a word too
	}
	for what, n := range times {
		if n != 1 {
			t.Errorf("%s: %d times %s", when, n, what)
		}
	}
}
