package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
)

// childCrash steps or undoes below the root args[0] and kills itself, beyond any clean-up, at the stage args[1].
func childCrash(args []string) {
	cfg := configFor(args[0])
	cfg.Fail = func(stage string) {
		if stage == args[1] {
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				panic(err)
			}
			select {}
		}
	}
	a, err := New(cfg)
	if err != nil {
		panic(err)
	}
	switch args[2] {
	case "step":
		_, err = a.Step(raise(100, 200, 80), meta)
	case "hash":
		_, err = a.Step(raise(100, 100, 80), meta)
	case "undo":
		_, err = a.Undo(remediate.Step{ID: "step-1", From: 50, To: 100}, UndoMeta{To: 50, Live: 10})
	case "persist":
		_, err = a.Persist(remediate.Step{From: 100, To: atoi(args[3])}, PersistMeta{})
	}
	panic(fmt.Sprint("not killed: ", err))
}

// crash runs childCrash and makes sure that it died by the signal.
func (f *fake) crash(args ...string) {
	f.t.Helper()
	cmd := child("crash", append([]string{f.root}, args...)...)
	_ = cmd.Run() // the signal, which is looked at next
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		f.t.Fatalf("the child ended otherwise: %v", cmd.ProcessState)
	}
}

// A process killed at each point of a step or undo leaves what Recover can settle, twice over with the same answer.
func TestRecoverAfterKill(t *testing.T) {
	tests := []struct {
		what, stage string
		crashed     string // the settings that the crash left
		result      Result
		state       string
	}{
		{"step", StageIntent, "100/100/50", ResultNotWritten, "100/100/50"},
		{"step", StageBuckets, "100/100/80", ResultNotWritten, "100/100/80"},
		{"step", StageFirstKey, "200/100/80", ResultDone, "200/200/80"},
		{"step", StageBothKeys, "200/200/80", ResultDone, "200/200/80"},
		{"step", StageReadBack, "200/200/80", ResultDone, "200/200/80"},
		{"step", StageOutcome, "200/200/80", ResultDone, "200/200/80"},
		{"undo", StageIntent, "100/100/50", ResultNotWritten, "100/100/50"},
		{"undo", StageFirstKey, "50/100/50", ResultDone, "50/50/50"},
		{"undo", StageBothKeys, "50/50/50", ResultDone, "50/50/50"},
		{"undo", StageOutcome, "50/50/50", ResultDone, "50/50/50"},
	}
	for _, tt := range tests {
		t.Run(tt.what+" "+tt.stage, func(t *testing.T) {
			f := newFake(t, 100, 50)
			f.crash(tt.stage, tt.what)
			if f.state() != tt.crashed {
				t.Fatalf("after the crash: %s, want %s", f.state(), tt.crashed)
			}
			for round := range 2 {
				got, err := f.Recover()
				if err != nil || len(got) != 1 {
					t.Fatalf("round %d: %+v, %v", round, got, err)
				}
				r := got[0]
				if r.Result != tt.result || r.Undo != (tt.what == "undo") || f.state() != tt.state || r.Text == "" {
					t.Errorf("round %d: %+v; the kernel has %s, want %s", round, r, f.state(), tt.state)
				}
				if !r.Step.NetNS.Init || r.Step.ID != r.ID || UndoneID(r.ID) != "step-1" || (r.Step.Error == "") != (tt.result == ResultDone) {
					t.Errorf("round %d: the step is %+v", round, r.Step)
				}
				if tt.result == ResultDone && r.Step.Keys[KeyOldMax] != r.Step.To {
					t.Errorf("round %d: keys %v", round, r.Step.Keys)
				}
			}
			id := "step-1"
			if tt.what == "undo" {
				id = UndoID(id)
			}
			if err := f.Forget(id); err != nil {
				t.Fatal(err)
			}
			if got, err := f.Recover(); err != nil || len(got) != 0 {
				t.Errorf("after Forget: %+v, %v", got, err)
			}
		})
	}
}

// What stands in the kernel at the next start decides, whoever put it there.
func TestRecoverJudges(t *testing.T) {
	tests := []struct {
		name     string
		max, old uint64
		result   Result
		state    string
	}{
		{"the second name only", 100, 200, ResultDone, "200/200/50"},
		{"a foreign value", 300, 300, ResultLeftAlone, "300/300/50"},
		{"a foreign value beside the new one", 200, 300, ResultLeftAlone, "200/300/50"},
		{"a foreign value beside the old one", 300, 100, ResultLeftAlone, "300/100/50"},
		{"the old name has gone", 200, 0, ResultDone, "200/0/50"},
		{"the module has gone", 0, 0, ResultLeftAlone, "0/0/50"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, 100, 50)
			f.crash(StageIntent, "step")
			f.setAll(tt.max, tt.old, 50)
			got, err := f.Recover()
			if err != nil || len(got) != 1 || got[0].Result != tt.result || f.state() != tt.state {
				t.Fatalf("%+v, %v; the kernel has %s", got, err, f.state())
			}
			// The answer stays although the limit changes before a second start.
			f.setAll(700, 700, 50)
			again, err := f.Recover()
			if err != nil || len(again) != 1 || again[0].Result != tt.result || f.state() != "700/700/50" {
				t.Errorf("again: %+v, %v; the kernel has %s", again, err, f.state())
			}
		})
	}
}

func TestRecoverHashAlone(t *testing.T) {
	for stage, want := range map[string]Result{StageIntent: ResultNotWritten, StageBuckets: ResultDone} {
		f := newFake(t, 100, 50)
		f.reopen(func(s string) {
			if s == stage {
				panic("crash")
			}
		})
		func() {
			defer func() { recover() }()
			_, err := f.Step(raise(100, 100, 80), meta)
			t.Fatalf("%s: not stopped: %v", stage, err)
		}()
		got, err := f.Recover()
		if err != nil || len(got) != 1 || got[0].Result != want {
			t.Errorf("%s: %+v, %v", stage, got, err)
		}
	}
}

func TestRecoverOtherBoot(t *testing.T) {
	f := newFake(t, 100, 50)
	f.crash(StageFirstKey, "step")
	f.cfg.BootID = "another"
	got, err := f.Recover()
	if err != nil || len(got) != 1 || got[0].Result != ResultOtherBoot || got[0].ID != "step-1" {
		t.Errorf("%+v, %v", got, err)
	}
	if f.state() != "200/100/80" {
		t.Errorf("touched: %s", f.state())
	}
}

func TestRecoverDamaged(t *testing.T) {
	good := `{"format":1,"id":"a","boot_id":"b00t","kind":"step","state":"intended","step":{"from":100,"to":200}}`
	for name, text := range map[string]string{
		"empty": "", "cut": good[:40], "noise": "\x00\xff", "not an object": "[1]",
		"another id":     strings.Replace(good, `"id":"a"`, `"id":"b"`, 1),
		"another format": strings.Replace(good, `"format":1`, `"format":2`, 1),
		"to 0":           strings.Replace(good, `"to":200`, `"to":0`, 1),
		"a step down":    strings.Replace(good, `"to":200`, `"to":20`, 1),
		"too high":       strings.Replace(good, `"to":200`, `"to":4294967296`, 1),
		"unknown state":  strings.Replace(good, `"intended"`, `"meant"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 100, 50)
			f.plant("run/ctwarden/intent-a.json", text)
			f.plant("run/ctwarden/.intent-a.json123", "what a crash left of a replacement")
			got, err := f.Recover()
			if err != nil || len(got) != 1 || got[0].Result != ResultDamaged || got[0].ID != "" {
				t.Fatalf("%+v, %v", got, err)
			}
			names := f.intents()
			if len(names) != 1 || filepath.Base(names[0]) != "intent-a.json.bad-20260304T050607Z" {
				t.Errorf("%v", names)
			}
			if hidden, _ := filepath.Glob(filepath.Join(f.root, "run/ctwarden/.intent*")); len(hidden) != 0 {
				t.Errorf("left: %v", hidden)
			}
			if again, err := f.Recover(); err != nil || len(again) != 0 || f.state() != "100/100/50" {
				t.Errorf("again: %+v, %v, %s", again, err, f.state())
			}
		})
	}
	if _, err := parseIntent([]byte(good)); err != nil {
		t.Errorf("what the cases are made from: %v", err)
	}
}

func TestRecoverNothing(t *testing.T) {
	if got, err := newFake(t, 100, 50).Recover(); err != nil || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// Any id makes a file name that stays in the directory.
func TestIntentFile(t *testing.T) {
	for _, id := range []string{"../../etc/passwd", "a/b", "..", ".", "a b", "\x00", "h:1:2#3", "é"} {
		f := newFake(t, 100, 50)
		m := meta
		m.ID = id
		if _, err := f.Step(raise(100, 200, 0), m); err != nil {
			t.Errorf("%q: %v", id, err)
		}
		if n := len(f.intents()); n != 1 {
			t.Errorf("%q: %d intents", id, n)
		}
		got, err := f.Recover()
		if err != nil || len(got) != 1 || got[0].ID != id {
			t.Errorf("%q: %+v, %v", id, got, err)
		}
		if err := f.Forget(id); err != nil || len(f.intents()) != 0 {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func FuzzParseIntent(f *testing.F) {
	f.Add([]byte(`{"format":1,"id":"a","boot_id":"b","kind":"step","state":"intended","step":{"from":1,"to":2}}`))
	f.Add([]byte(`{"format":1,"id":"a.undo","kind":"undo","state":"done","buckets":512,"step":{"from":2,"to":1,"keys":{"a":1}}}`))
	f.Add([]byte(`{"format":1,"step":{"from":-1}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := parseIntent(data)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if in.Step.To == 0 || in.Step.To > remediate.MaxLimit || in.Kind == kindStep && in.Step.To < in.Step.From {
			t.Fatalf("%+v", in)
		}
		again, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseIntent(again); err != nil || !reflect.DeepEqual(in, back) {
			t.Fatalf("%+v became %+v, %v", in, back, err)
		}
	})
}
