package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// hash sets the size of the kernel's hash.
func (h scratch) hash(t *testing.T, buckets int) {
	t.Helper()
	h.put(t, "proc/sys/net/netfilter/nf_conntrack_buckets", fmt.Sprintln(buckets))
}

func (h scratch) buckets(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.root, "proc/sys/net/netfilter/nf_conntrack_buckets"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// hashIs fails the test unless the hash has that size, and the status that word for why.
func (h scratch) hashIs(t *testing.T, a *Agent, when, buckets string, reason remediate.HashReason) {
	t.Helper()
	s := a.status().Hash
	if s == nil {
		t.Fatalf("%s: no status", when)
	}
	if got := h.buckets(t); got != buckets || s.Reason != reason || !strings.HasPrefix(s.Text, reason.Text()) {
		t.Errorf("%s: %s buckets, %s: %s; want %s, %s", when, got, s.Reason, s.Text, buckets, reason)
	}
}

// newSmallHash is a host whose hash is too small for the ceiling, with a log that can be looked at.
func newSmallHash(t *testing.T) (*fragile, *observer.ObservedLogs) {
	f := newFragile(t)
	f.hash(t, 16384)
	core, logs := observer.New(zapcore.InfoLevel)
	f.cfg.Log = zap.New(core)
	return f, logs
}

func TestPresizedAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, logs := newSmallHash(t)
		f.live(t, 0, func(a *Agent) {
			a.turn()
			f.hashIs(t, a, "at the start", "131072", remediate.HashSized)
			last := a.status().Hash.Last
			if last == nil || last.From != 16384 || last.Asked != 131072 || last.To != 131072 || last.Entries != 100 {
				t.Errorf("the last resize is %+v", last)
			}
			a.pass(30)
			if n := logs.FilterMessage("hash sized").Len(); n != 1 {
				t.Errorf("sized %d times", n)
			}
			f.noStep(t, a, "sized in quiet")
			left, _ := filepath.Glob(filepath.Join(f.cfg.RuntimeDir, "*intent-*"))
			if len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
		f.live(t, 0, func(a *Agent) {
			if last := a.status().Hash.Last; last == nil || last.To != 131072 {
				t.Errorf("after a restart the last resize is %+v", last)
			}
			// A step that helps has both limits and the hash made to last.
			a.turn()
			if r := a.raise(131072); !r.Done {
				t.Fatal(r.Text)
			}
			a.pass(4)
			p, there, err := a.applier.Persisted()
			if err != nil || !there || p.Max != 131072 || p.Buckets != 131072 {
				t.Errorf("persisted %+v, %v, %v", p, there, err)
			}
			if r, _ := a.revert(false); !r.Done || f.limit(t) != "65536" {
				t.Errorf("revert: %+v; limit %s", r, f.limit(t))
			}
		})
	})
}

// noStep fails the test if a resize in quiet looks like a step to anybody.
func (f *fragile) noStep(t *testing.T, a *Agent, when string) {
	t.Helper()
	events, err := a.disk.store.Load().Peek(0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if strings.HasPrefix(string(ev.Type), "step.") || strings.HasPrefix(string(ev.Type), "incident.") {
			t.Errorf("%s: an event: %s", when, ev.Body)
		}
	}
	if st := a.tracker.State(); len(a.steps) > 0 || len(st.StepTimes) > 0 || st.Pending != nil || len(a.stepTotals) > 0 {
		t.Errorf("%s: steps %+v, counted %v %v, pending %v", when, a.steps, st.StepTimes, a.stepTotals, st.Pending)
	}
	if r, _ := a.revert(true); r.Done || f.limit(t) != "65536" {
		t.Errorf("%s: reverted: %+v", when, r)
	}
}

func TestNotPresized(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, f *fragile)
		reason remediate.HashReason
		said   int // how often the log says why
	}{
		{"in observe mode", func(_ *testing.T, f *fragile) { f.cfg.Policy.Mode = remediate.ModeObserve }, remediate.HashObserve, 0},
		{"where it is kept", func(_ *testing.T, f *fragile) { f.cfg.Policy.Buckets = remediate.BucketsKeep }, remediate.HashKeep, 0},
		{"while held", func(t *testing.T, f *fragile) {
			if err := apply.SetHold(f.cfg.StateDir, remediate.Hold{Since: time.Now(), By: "ann"}); err != nil {
				t.Fatal(err)
			}
		}, remediate.HashHeld, 1},
		{"of too many entries", func(t *testing.T, f *fragile) { f.traffic(t, 44445, 0) }, remediate.HashStall, 1},
		{"of a table that stands high", func(t *testing.T, f *fragile) { f.table(t, 36000, 40000, 0); f.hash(t, 16384) }, remediate.HashHigh, 1},
		{"without memory", func(t *testing.T, f *fragile) {
			f.put(t, "proc/meminfo", "MemTotal: 100000 kB\nMemAvailable: 90000 kB\n")
		}, remediate.HashMemory, 1},
		{"without a limit", func(t *testing.T, f *fragile) { f.table(t, 100, 0, 0); f.hash(t, 16384) }, remediate.HashNoLimit, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, logs := newSmallHash(t)
				if err := os.MkdirAll(f.cfg.StateDir, 0o700); err != nil {
					t.Fatal(err)
				}
				f.live(t, 0, func(*Agent) {}) // the state's directory moves with each life
				f.hash(t, 16384)
				c.change(t, f)
				f.live(t, 0, func(a *Agent) {
					a.pass(5)
					f.hashIs(t, a, c.name, "16384", c.reason)
					if n := logs.FilterMessage("hash not sized").FilterField(zap.String("reason", string(c.reason))).Len(); n != c.said {
						t.Errorf("said %d times why, want %d", n, c.said)
					}
				})
			})
		})
	}
}

// What kept the hash from being sized ends, and it is sized within about a second.
func TestPresizedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := newSmallHash(t)
		f.traffic(t, 50000, 0)
		f.live(t, 0, func(a *Agent) {
			a.pass(5)
			f.hashIs(t, a, "busy", "16384", remediate.HashStall)
			if s := a.status().Hash; s.StallUS != 22500 || s.Wanted != 131072 || s.StallPerEntryNS != 450 || s.Learned != 0 {
				t.Errorf("%+v", s)
			}
			f.traffic(t, 20000, 0)
			a.pass(3)
			f.hashIs(t, a, "quiet", "131072", remediate.HashSized)
			if s := a.status().Hash; s.Last == nil || s.Last.Entries != 20000 {
				t.Errorf("%+v", s.Last)
			}
		})
	})
}

// Somebody who makes the hash smaller again is not fought: not now, not after a restart, but in the next boot.
func TestPresizedOnceABoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := newSmallHash(t)
		f.live(t, 0, func(a *Agent) {
			a.turn()
			f.hash(t, 20480)
			a.pass(30)
			f.hashIs(t, a, "made smaller", "20480", remediate.HashSmaller)
		})
		f.live(t, 0, func(a *Agent) {
			a.pass(5)
			f.hashIs(t, a, "after a restart", "20480", remediate.HashSmaller)
			a.cfg.Policy.Ceiling *= 2
			a.pass(2)
			f.hashIs(t, a, "under a higher ceiling", "262144", remediate.HashSized)
			f.hash(t, 20480)
			a.hash.BootID = "another"
			a.saveHash("")
			a.turn()
		})
		f.live(t, 0, func(a *Agent) {
			a.pass(1)
			f.hashIs(t, a, "in another boot", "131072", remediate.HashSized)
		})
	})
}

// TestSizedHash: a hash that is large enough is looked at rarely, and at once where somebody sizes it or the ceiling is
// another.
func TestSizedHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := newSmallHash(t)
		f.live(t, 0, func(a *Agent) {
			a.pass(2)
			f.hashIs(t, a, "at the start", "131072", remediate.HashSized)
			if wait := time.Until(a.hash.after); wait <= 2*presizeEvery {
				t.Errorf("looked at again in %v", wait)
			}
			cfg := a.cfg
			cfg.Policy.Ceiling *= 2
			a.reload(cfg)
			a.pass(2)
			f.hashIs(t, a, "under a higher ceiling", "262144", remediate.HashSized)
			f.hash(t, 20480)
			a.pass(2)
			if a.hash.said != remediate.HashSmaller {
				t.Errorf("said %q, want %q", a.hash.said, remediate.HashSmaller)
			}
		})
	})
}

func TestPresizeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, logs := newSmallHash(t)
		f.live(t, 0, func(a *Agent) {
			a.hash.after = time.Now().Add(time.Hour)
			a.turn()
			limits, err := a.table.Limits()
			if err != nil {
				t.Fatal(err)
			}
			a.sizeHash(limits, remediate.Presizing{Buckets: remediate.MaxLimit + 1}) // refused before it is written
			a.hash.after = time.Time{}
			a.pass(9 * 60)
			f.hashIs(t, a, "after a failure", "16384", remediate.HashFailed)
			if notes := strings.Join(a.status().Notes, "; "); !strings.Contains(notes, "the hash was not sized for remediate.ceiling") {
				t.Errorf("notes: %s", notes)
			}
			a.pass(61)
			f.hashIs(t, a, "ten minutes later", "131072", remediate.HashSized)
			if notes := a.status().Notes; len(notes) > 0 {
				t.Errorf("still noted: %v", notes)
			}
			if n := logs.FilterMessage("hash sized").Len(); n != 1 {
				t.Errorf("sized %d times", n)
			}
		})
	})
}

// What a resize costs here is learned, kept over a restart, and forgotten with the kernel that it was measured on.
func TestStallIsLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := newSmallHash(t)
		f.traffic(t, 58000, 0)
		f.live(t, 0, func(a *Agent) {
			a.turn()
			for range 2 {
				a.tookResize(remediate.Resize{From: 512, Asked: 1024, To: 1024, BusyUS: 11600}, nil) // 200 ns each
			}
			a.pass(3)
			f.hashIs(t, a, "a fast machine", "131072", remediate.HashSized)
		})
		f.hash(t, 16384)
		f.live(t, 0, func(a *Agent) {
			if s := a.status().Hash; s.StallPerEntryNS != 200 || s.Learned < 2 {
				t.Errorf("after a restart %+v", s)
			}
		})
		f.put(t, "proc/sys/kernel/osrelease", "6.13.0\n")
		f.live(t, 0, func(a *Agent) {
			if s := a.status().Hash; s.StallPerEntryNS != 450 || s.Learned != 0 || s.Last == nil {
				t.Errorf("on another kernel %+v", s)
			}
		})
	})
}

func TestWhatIsKnownOfTheHashIsDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, logs := newSmallHash(t)
		f.live(t, 0, func(a *Agent) {
			a.meta = map[string][]byte{hashKey: []byte(`{"kernel": 7}`)}
			a.restoreHash()
			if a.hash.Kernel != a.kernel || a.hash.BootID != a.bootID || logs.FilterMessageSnippet("learned anew").Len() != 1 {
				t.Errorf("%+v", a.hash.hashBook)
			}
		})
	})
}

// TestCrashInPresizing kills the agent at every stage of a resize in quiet: the next start tells of it, leaves no intent,
// makes no step of it and sizes the hash once.
func TestCrashInPresizing(t *testing.T) {
	stages := map[string]bool{}
	for k := 1; ; k++ {
		killed := false
		synctest.Test(t, func(t *testing.T) {
			f, logs := newSmallHash(t)
			f.live(t, 0, func(*Agent) {})
			if killed = f.live(t, k, func(a *Agent) { a.turn() }); !killed {
				return
			}
			at := f.stages[k-1]
			stages[at] = true
			sized := f.buckets(t) == "131072"
			before := logs.FilterMessage("hash sized").Len()
			f.live(t, 0, func(a *Agent) {
				a.pass(3)
				f.hashIs(t, a, "killed at "+at, "131072", remediate.HashSized)
				f.noStep(t, a, "killed at "+at)
				if left, _ := filepath.Glob(filepath.Join(f.cfg.RuntimeDir, "*intent-*")); len(left) > 0 {
					t.Errorf("killed at %s: left %v", at, left)
				}
				if n := logs.FilterMessage("hash sized").Len() - before; sized != (n == 0) {
					t.Errorf("killed at %s: sized before is %v, and again %d times", at, sized, n)
				}
				if a.persistMeta().Buckets != 131072 {
					t.Errorf("killed at %s: %d buckets would be made to last", at, a.persistMeta().Buckets)
				}
			})
		})
		if !killed {
			break
		}
	}
	for _, stage := range []string{apply.StageIntent, apply.StageBuckets, apply.StageReadBack, apply.StageOutcome, apply.StageBeforeForget} {
		if !stages[stage] {
			t.Errorf("not killed at %s", stage)
		}
	}
}

func TestHashStatusIsJSON(t *testing.T) {
	b, err := json.Marshal(HashStatus{Wanted: 131072, StallUS: 27000, StallPerEntryNS: 450, Learned: 2, Reason: remediate.HashStall,
		Text: "why", Last: &remediate.Resize{From: 1, Asked: 2, To: 3, Entries: 4, TookUS: 5, BusyUS: 6}})
	want := `{"wanted":131072,"predicted_stall_us":27000,"stall_per_entry_ns":450,"learned_from":2,"reason":"stall","text":"why",` +
		`"last":{"at":"0001-01-01T00:00:00Z","from":1,"asked":2,"to":3,"entries":4,"took_us":5,"busy_us":6}}`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
}

// TestPresizedForShortChains: a kernel that refuses inserts on short chains gets a bucket for each entry at the ceiling.
// RHEL 9's version does not tell that it does, its counters do.
func TestPresizedForShortChains(t *testing.T) {
	for _, c := range []struct{ release, stat, want string }{
		{"6.1.0-31-amd64", scratchStatChains, "524288"},
		{"5.14.0-503.el9.x86_64", scratchStatChains, "524288"},
		{"5.14.0-1-amd64", scratchStat, "131072"},
		{"6.12.0", scratchStatChains, "131072"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f, _ := newSmallHash(t)
			f.put(t, "proc/sys/kernel/osrelease", c.release+"\n")
			f.put(t, "proc/777/net/stat/nf_conntrack", fmt.Sprintf(c.stat, 100, 0))
			f.live(t, 0, func(a *Agent) {
				a.turn()
				f.hashIs(t, a, c.release, c.want, remediate.HashSized)
			})
		})
	}
}
