package main

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/doctor"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// TestDoctorOnThisKernel has the limit raised by hand, which nothing makes to last.
func TestDoctorOnThisKernel(t *testing.T) {
	lock := testkernel.Hold(t)
	const raised = 1_234_567 // what no file and no default of a kernel has
	if err := lock.SetMax(raised); err != nil {
		t.Fatal(err)
	}
	r := doctorReport(t, "/")
	if r.Limit != raised || r.Buckets != lock.Saved().Buckets {
		t.Errorf("says %d in %d buckets, the kernel has %d in %d", r.Limit, r.Buckets, raised, lock.Saved().Buckets)
	}
	if r.Survives == nil || *r.Survives || r.AtBoot.Max == raised {
		t.Errorf("says that it survives: %v, with %d at the next boot", r.Survives, r.AtBoot.Max)
	}
	lost := slices.ContainsFunc(r.Findings, func(f doctor.Finding) bool {
		return f.Severity == doctor.Problem && strings.Contains(f.What, "1234567")
	})
	if !lost {
		t.Errorf("no finding tells of the loss: %+v", r.Findings)
	}
}

// TestDoctorInANamespace runs it where the limit is another's.
func TestDoctorInANamespace(t *testing.T) {
	testhost.NeedRoot(t)
	if !hasConntrack(t) {
		t.Skip("no connection tracking on this machine")
	}
	_, program := publicProgram(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "doctor")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitRefused {
		t.Errorf("ended with %v, want exit code %d", err, exitRefused)
	}
	for _, want := range []string{"nothing in this container decides what it is after a reboot", "ADVICE inside", "cannot be set from here"} {
		if !strings.Contains(strings.Join(strings.Fields(string(out)), " "), want) {
			t.Errorf("got\n%s\nwant %q", out, want)
		}
	}
}
