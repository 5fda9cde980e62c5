package apply

import (
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
)

func TestStep(t *testing.T) {
	tests := []struct {
		name     string
		max, old uint64
		buckets  uint64
		d        remediate.Decision
		want     error
		state    string
		keys     map[string]uint64
	}{
		{"the limit alone", 100, 100, 50, raise(100, 200, 0), nil, "200/200/50",
			map[string]uint64{KeyMax: 200, KeyOldMax: 200}},
		{"the hash first", 100, 100, 50, raise(100, 200, 80), nil, "200/200/80",
			map[string]uint64{KeyMax: 200, KeyOldMax: 200, KeyBuckets: 80}},
		{"a hash that is large enough", 100, 100, 90, raise(100, 200, 80), nil, "200/200/90",
			map[string]uint64{KeyMax: 200, KeyOldMax: 200, KeyBuckets: 90}},
		{"the hash alone", 100, 100, 50, raise(100, 100, 80), nil, "100/100/80",
			map[string]uint64{KeyMax: 100, KeyOldMax: 100, KeyBuckets: 80}},
		{"without the old name", 100, 0, 50, raise(100, 200, 0), nil, "200/0/50", map[string]uint64{KeyMax: 200}},
		{"up to what the kernel takes", 100, 100, 50, raise(100, math.MaxInt32, 0), nil, "2147483647/2147483647/50",
			map[string]uint64{KeyMax: math.MaxInt32, KeyOldMax: math.MaxInt32}},
		{"changed meanwhile", 150, 150, 50, raise(100, 200, 80), ErrChanged, "150/150/50",
			map[string]uint64{KeyMax: 150, KeyOldMax: 150, KeyBuckets: 50}},
		{"the names disagree", 100, 120, 50, raise(100, 200, 0), ErrChanged, "100/120/50",
			map[string]uint64{KeyMax: 100, KeyOldMax: 120}},
		{"there already", 200, 200, 50, raise(100, 200, 0), ErrChanged, "200/200/50",
			map[string]uint64{KeyMax: 200, KeyOldMax: 200}},
		{"no table", 0, 0, 0, raise(100, 200, 0), ErrNoTable, "0/0/0", nil},
		{"no hash to size", 100, 100, 0, raise(100, 200, 80), ErrNoTable, "100/100/0",
			map[string]uint64{KeyMax: 100, KeyOldMax: 100}},
		{"downwards", 100, 100, 50, raise(100, 90, 0), ErrInvalid, "100/100/50", nil},
		{"to 0", 100, 100, 50, raise(100, 0, 0), ErrInvalid, "100/100/50", nil},
		{"from 0", 100, 100, 50, raise(0, 100, 0), ErrInvalid, "100/100/50", nil},
		{"nothing to do", 100, 100, 50, raise(100, 100, 0), ErrInvalid, "100/100/50", nil},
		{"more than the kernel takes", 100, 100, 50, raise(100, math.MaxInt32+1, 0), ErrInvalid, "100/100/50", nil},
		{"no ceiling recorded", 100, 100, 50, raise(100, 600000, 0), nil, "600000/600000/50",
			map[string]uint64{KeyMax: 600000, KeyOldMax: 600000}},
		{"a refusal", 100, 100, 50, remediate.Decision{From: 100, To: 200, Reason: remediate.ReasonHeld}, ErrInvalid,
			"100/100/50", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, tt.max, tt.buckets)
			f.put(KeyOldMax, tt.old)
			m := meta
			m.Ceiling = 0
			s, err := f.Step(tt.d, m)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if got := f.state(); got != tt.state {
				t.Errorf("the kernel has %s, want %s", got, tt.state)
			}
			if len(tt.keys)+len(s.Keys) > 0 && tt.want != ErrNoTable && !maps.Equal(s.Keys, tt.keys) {
				t.Errorf("keys %v, want %v", s.Keys, tt.keys)
			}
			if (err != nil) != (s.Error != "") {
				t.Errorf("the step's error is %q, the call's %v", s.Error, err)
			}
			if s.From != tt.d.From || s.To != tt.d.To || s.ID != m.ID || s.IncidentID != tt.d.IncidentID || !s.At.Equal(at) ||
				s.Mode != m.Mode || s.Reason != tt.d.Reason {
				t.Errorf("the step is %+v", s)
			}
		})
	}
}

func TestStepCeiling(t *testing.T) {
	f := newFake(t, 100, 50)
	if _, err := f.Step(raise(100, meta.Ceiling+1, 0), meta); !errors.Is(err, ErrInvalid) || f.state() != "100/100/50" {
		t.Errorf("%v, %s", err, f.state())
	}
	if _, err := f.Step(raise(100, 200, 0), StepMeta{}); !errors.Is(err, ErrInvalid) || len(f.intents()) != 0 {
		t.Errorf("%v, %v", err, f.intents())
	}
}

// Somebody else writes at every point of a step.
func TestStepAgainstOthers(t *testing.T) {
	tests := []struct {
		stage string
		want  error
		state string
	}{
		{StageIntent, ErrChanged, "150/150/50"},
		{StageBuckets, ErrChanged, "150/150/80"},
		{StageFirstKey, ErrReadBack, "150/200/80"},
		{StageBothKeys, ErrReadBack, "150/150/80"},
	}
	for _, tt := range tests {
		t.Run(tt.stage, func(t *testing.T) {
			f := newFake(t, 100, 50)
			f.reopen(func(stage string) {
				if stage == tt.stage {
					f.put(KeyMax, 150)
					f.put(KeyOldMax, 150)
				}
			})
			s, err := f.Step(raise(100, 200, 80), meta)
			if !errors.Is(err, tt.want) || f.state() != tt.state {
				t.Errorf("%v, %s; want %v, %s", err, f.state(), tt.want, tt.state)
			}
			if s.Keys[KeyMax] != 150 || !strings.Contains(err.Error(), "150") {
				t.Errorf("the step does not tell of the other value: %+v", s)
			}
			r, err := f.Recover()
			if err != nil || len(r) != 1 || r[0].Result != ResultFailed || r[0].Step.Error != s.Error {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// The intent is there before anything is written, private, and the runtime directory too.
func TestIntentComesFirst(t *testing.T) {
	f := newFake(t, 100, 50)
	var stages []string
	f.reopen(func(stage string) {
		if stage == StageBeforeForget || stage == StageAfterForget {
			return
		}
		stages = append(stages, stage)
		names := f.intents()
		if len(names) != 1 {
			t.Fatalf("%s: %v", stage, names)
		}
		fi, err := os.Stat(names[0])
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", stage, fi, err)
		}
		if stage == StageIntent && f.state() != "100/100/50" {
			t.Errorf("written before the intent: %s", f.state())
		}
	})
	if _, err := f.Step(raise(100, 200, 80), meta); err != nil {
		t.Fatal(err)
	}
	want := []string{StageIntent, StageBuckets, StageFirstKey, StageBothKeys, StageReadBack, StageOutcome}
	if strings.Join(stages, " ") != strings.Join(want, " ") {
		t.Errorf("stages %v, want %v", stages, want)
	}
	if fi, err := os.Stat(f.cfg.RuntimeDir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi, err)
	}
	if err := errors.Join(f.Forget(meta.ID), f.Forget(meta.ID)); err != nil || len(f.intents()) != 0 {
		t.Errorf("%v, %v", err, f.intents())
	}
}

func TestNoIntentNoWrite(t *testing.T) {
	f := newFake(t, 100, 50)
	f.plant("run", "a file where the directory should be")
	if _, err := f.Step(raise(100, 200, 0), meta); err == nil || f.state() != "100/100/50" {
		t.Errorf("%v, %s", err, f.state())
	}
}

func TestUndo(t *testing.T) {
	done := remediate.Step{ID: "step-1", IncidentID: "inc-1", From: 1000, To: 4000, Reason: remediate.ReasonFull,
		Keys: map[string]uint64{KeyMax: 4000}, TookUS: 5, Outcome: remediate.OutcomeIneffective, Persisted: "/x"}
	tests := []struct {
		name     string
		now      uint64
		live, to uint64
		want     error
		state    string
	}{
		{"back", 4000, 100, 1000, nil, "1000/1000/512"},
		{"as low as live use allows", 4000, 800, 1000, nil, "1000/1000/512"},
		{"one entry too many", 4000, 801, 1000, ErrTooLow, "4000/4000/512"},
		{"not so far back", 4000, 801, 1002, nil, "1002/1002/512"},
		{"an administrator changed it", 3000, 100, 1000, ErrChanged, "3000/3000/512"},
		{"upwards", 4000, 100, 5000, ErrInvalid, "4000/4000/512"},
		{"nothing to undo", 4000, 100, 4000, ErrInvalid, "4000/4000/512"},
		{"to 0", 4000, 0, 0, ErrInvalid, "4000/4000/512"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, tt.now, 512)
			s, err := f.Undo(done, UndoMeta{To: tt.to, Live: tt.live, Reason: remediate.ReasonManual, Mode: remediate.ModeObserve, Ceiling: 9})
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || f.state() != tt.state {
				t.Errorf("%v, %s; want %v, %s", err, f.state(), tt.want, tt.state)
			}
			if s.Reason != remediate.ReasonManual || s.Mode != remediate.ModeObserve || s.Ceiling != 9 {
				t.Errorf("%+v", s)
			}
			if s.ID != UndoID(done.ID) || s.IncidentID != done.IncidentID || s.From != 4000 || s.To != tt.to || s.Outcome != "" ||
				s.Persisted != "" || s.TookUS != 0 {
				t.Errorf("%+v", s)
			}
			if err := f.Forget(UndoID(done.ID)); err != nil || len(f.intents()) != 0 {
				t.Errorf("%v, %v", err, f.intents())
			}
		})
	}
	if got := Floor(math.MaxInt32); got != 2684354559 {
		t.Error(got)
	}
}

// Each error says what happened to what, and which are those of a place that cannot write.
func TestSettingError(t *testing.T) {
	for errno, readOnly := range map[syscall.Errno]bool{
		syscall.EACCES: true, syscall.EPERM: true, syscall.EROFS: true, syscall.EINVAL: false, syscall.ENOMEM: false,
	} {
		var err error = &SettingError{Op: "set", Key: KeyMax, Value: 7,
			Err: &os.PathError{Op: "openat", Path: "proc", Err: errno}}
		if errors.Is(err, ErrReadOnly) != readOnly || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
		if !strings.HasPrefix(err.Error(), "set "+KeyMax+" to 7: "+errno.Error()) ||
			strings.Contains(err.Error(), "CAP_NET_ADMIN") != readOnly {
			t.Error(err)
		}
	}
	f := newFake(t, 0, 0)
	_, err := f.Step(raise(100, 200, 0), meta)
	if !errors.Is(err, ErrNoTable) || errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "not loaded") {
		t.Error(err)
	}
	if err := f.set(KeyMax, 5); !errors.Is(err, ErrNoTable) {
		t.Errorf("a setting was created: %v", err)
	}
	if _, err := os.Stat(filepath.Join(f.root, sysPath(KeyMax))); err == nil {
		t.Error("a setting was created")
	}
	if err := f.set(KeyMax, 0); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}
