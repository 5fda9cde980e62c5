package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// told keeps what the applier says of its resizes.
type told struct {
	resizes []remediate.Resize
	errs    []error
}

func (o *told) take(r remediate.Resize, err error) {
	o.resizes, o.errs = append(o.resizes, r), append(o.errs, err)
}

// mute leaves out the times, which no test knows beforehand.
func (o *told) mute() []remediate.Resize {
	var out []remediate.Resize
	for _, r := range o.resizes {
		r.TookUS, r.BusyUS = 0, 0
		out = append(out, r)
	}
	return out
}

func TestResizeIsTold(t *testing.T) {
	for _, c := range []struct {
		name     string
		decision remediate.Decision
		state    string
		want     []remediate.Resize
	}{
		{"alone", raise(100, 100, 80), "100/100/80", []remediate.Resize{{At: at, From: 50, Asked: 80, To: 80}}},
		{"with a step", raise(100, 200, 90), "200/200/90", []remediate.Resize{{At: at, From: 50, Asked: 90, To: 90}}},
		{"none needed", raise(100, 200, 50), "200/200/50", nil},
		{"none asked for", raise(100, 200, 0), "200/200/50", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, o := newFake(t, 100, 50), &told{}
			f.cfg.Resized = o.take
			if _, err := f.Step(c.decision, meta); err != nil || f.state() != c.state {
				t.Fatalf("%v; the kernel has %s, want %s", err, f.state(), c.state)
			}
			if got := o.mute(); !reflect.DeepEqual(got, c.want) {
				t.Errorf("told %+v, want %+v", got, c.want)
			}
		})
	}
}

// stubborn makes the size of the hash a pipe, behind which a kernel has 50 buckets, and 60 whatever is asked for.
func (f *fake) stubborn() (done <-chan error) {
	f.t.Helper()
	name := filepath.Join(f.root, sysPath(KeyBuckets))
	if err := errors.Join(os.Remove(name), syscall.Mkfifo(name, 0o600)); err != nil {
		f.t.Fatal(err)
	}
	ended := make(chan error, 1) // the test may have failed before it looks
	go func() {
		ended <- func() error {
			if err := os.WriteFile(name, []byte("50\n"), 0); err != nil {
				return err
			}
			asked, err := os.ReadFile(name)
			if err != nil || string(asked) != "80\n" {
				return fmt.Errorf("asked for %q, %w", asked, err)
			}
			return os.WriteFile(name, []byte("60\n"), 0)
		}()
	}()
	return ended
}

// A kernel that gives fewer buckets than asked for fails the step before the limit is touched, and what it gave is told.
func TestResizeReadBackShort(t *testing.T) {
	f, o := newFake(t, 100, 50), &told{}
	f.cfg.Resized = o.take
	kernel := f.stubborn()
	s, err := f.Step(raise(100, 200, 80), meta)
	if !errors.Is(err, ErrReadBack) || s.Error == "" {
		t.Errorf("%+v, %v", s, err)
	}
	if err := <-kernel; err != nil {
		t.Error(err)
	}
	want := []remediate.Resize{{At: at, From: 50, Asked: 80, To: 60}}
	if got := o.mute(); !reflect.DeepEqual(got, want) || !errors.Is(o.errs[0], ErrReadBack) {
		t.Errorf("told %+v, %v; want %+v", got, o.errs, want)
	}
	f.put(KeyBuckets, 0)
	if f.state() != "100/100/0" {
		t.Errorf("the limit was touched: %s", f.state())
	}
}

func TestResizeFails(t *testing.T) {
	f, o := newFake(t, 100, 0), &told{}
	f.cfg.Resized = o.take
	if _, err := f.Step(raise(100, 200, 80), meta); !errors.Is(err, fs.ErrNotExist) || f.state() != "100/100/0" {
		t.Errorf("%v; the kernel has %s", err, f.state())
	}
	if len(o.errs) != 1 || o.errs[0] == nil || o.resizes[0].To != 0 {
		t.Errorf("told %+v, %v", o.resizes, o.errs)
	}
}

// The next start tells of a resize by itself, whatever has become of the limit since.
func TestRecoverHashTexts(t *testing.T) {
	for _, c := range []struct {
		name       string
		stage      string
		limit, now uint64
		result     Result
		text       string
	}{
		{"not written", StageIntent, 100, 50, ResultNotWritten, "the hash was to be sized for 80 buckets and was not"},
		{"written", StageBuckets, 100, 80, ResultDone, "the hash was sized: " + KeyBuckets + " is 80"},
		{"written, and the limit changed since", StageBuckets, 300, 80, ResultDone, "the hash was sized: " + KeyBuckets + " is 80"},
		{"not written, and the limit changed since", StageIntent, 300, 50, ResultNotWritten, "the hash was to be sized for 80 buckets and was not"},
		{"written and recorded, and gone since", StageOutcome, 100, 50, ResultDone, "the hash was sized: " + KeyBuckets + " is 80"},
		{"no table any more", StageIntent, 0, 0, ResultLeftAlone, "the hash was to be sized for 80 buckets and was not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t, 100, 50)
			f.crash(c.stage, "hash")
			f.setAll(c.limit, c.limit, c.now)
			before := f.state()
			for round := range 2 {
				got, err := f.Recover()
				if err != nil || len(got) != 1 || got[0].Result != c.result || got[0].Text != c.text || !got[0].Resized {
					t.Errorf("round %d: %+v, %v", round, got, err)
				}
			}
			if f.state() != before {
				t.Errorf("touched: %s, was %s", f.state(), before)
			}
		})
	}
}

// The real kernel rounds the hash up, and what moving its entries cost is measured without the wait that follows.
func TestRealKernelResize(t *testing.T) {
	a := mustOnHost(t)
	v := lockKernel(t, a)
	ns := testkernel.Scratch(t)
	const flows = 20_000
	if _, err := ns.Burst(t.Context(), flows); err != nil {
		t.Fatal(err)
	}
	o := &told{}
	a.cfg.Resized = o.take
	s, err := a.Step(raise(v.max, v.max, v.buckets+1), StepMeta{ID: "hash"})
	if err != nil || s.Keys[KeyMax] != v.max || len(o.resizes) != 1 {
		t.Fatalf("%+v, %v, %+v", s, err, o)
	}
	r := o.resizes[0]
	t.Logf("%d entries: %d µs, of which %d µs busy", flows, r.TookUS, r.BusyUS)
	if r.From != v.buckets || r.Asked != v.buckets+1 || r.To != v.buckets+512 || s.Keys[KeyBuckets] != r.To {
		t.Errorf("%+v; keys %v; there were %d", r, s.Keys, v.buckets)
	}
	// Half a microsecond an entry is usual; no machine does it in a hundredth of that.
	if r.BusyUS < flows/200 || r.BusyUS > r.TookUS+1000 || r.TookUS > 10e6 {
		t.Errorf("took %d µs, of which %d µs busy", r.TookUS, r.BusyUS)
	}
}
