package testhost

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Spawn starts a command that is killed with this process, and gives its end on a channel of capacity one, which is
// closed after it.
//
// The kernel ties the child's life to the thread that started it, and threads of a Go program come and go, above all
// where namespaces are entered. So the command has a thread of its own for as long as it runs.
func Spawn(cmd *exec.Cmd) (<-chan error, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return ended, nil
}
