package testhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Program is one that a test program started, which has no *testing.T to clean up after it.
type Program struct {
	cmd   *exec.Cmd
	ended <-chan error
}

// Launch starts a program in a process group of its own, so that Ctrl-C reaches only the program that started it, which
// ends it in order.
func Launch(stdout, stderr io.Writer, name string, args ...string) (Program, error) {
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = stdout, stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ended, err := Spawn(c)
	return Program{cmd: c, ended: ended}, err
}

// Stop ends the program and waits for it; its error says how it ended, where that was not well. One that was never
// started has nothing to stop.
func (p Program) Stop() error {
	if p.ended == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := <-p.ended; err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(p.cmd.Path), err)
	}
	return nil
}

// Kill ends the program and all that it started, whatever it says to that, and waits for it.
func (p Program) Kill() {
	if p.ended == nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may have ended already
	<-p.ended
}

// Poll asks until done, for at most so long.
func Poll(ctx context.Context, within time.Duration, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
