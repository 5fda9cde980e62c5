//go:build amd64 || arm64

package apply

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// changing are the system calls that change what outlives a process. Between two of them a process changes nothing, so
// killing it before each, and after the last, is killing it at every instruction.
func changing(nr uint64, args [6]uint64) bool {
	switch nr {
	case unix.SYS_OPENAT:
		return args[2]&(unix.O_CREAT|unix.O_TRUNC) != 0
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT,
		unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		return true
	}
	return false
}

// nth picks the nth changing system call.
func nth(n int) pick {
	return func(nr uint64, args [6]uint64) bool {
		if changing(nr, args) {
			n--
		}
		return n == 0
	}
}

// syncing picks the first system call that waits for a disk.
func syncing(nr uint64, _ [6]uint64) bool {
	switch nr {
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC, unix.SYS_SYNCFS:
		return true
	}
	return false
}

// pick tells whether a system call is the one to be killed at.
type pick func(nr uint64, args [6]uint64) bool

// killAt runs cmd and kills it as it enters the system call that is picked. It returns false where cmd ends before.
func killAt(cmd *exec.Cmd, at pick) (killed bool, err error) {
	done := make(chan struct{}) // closed when the outcome is there
	go func() {
		defer close(done)
		runtime.LockOSThread() // the kernel ties a traced process to the thread that traces it
		defer runtime.UnlockOSThread()
		killed, err = trace(cmd, at)
	}()
	<-done
	return killed, err
}

func trace(cmd *exec.Cmd, picked pick) (killed bool, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	if err := cmd.Start(); err != nil {
		return false, err
	}
	defer cmd.Process.Release() // it is waited for here
	pid := cmd.Process.Pid
	status, err := wait(pid)
	if err != nil || !status.Stopped() {
		return false, fmt.Errorf("the child did not stop at its start: %v, %v", status, err)
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(pid, options); err != nil {
		return false, fmt.Errorf("trace: %w", err)
	}
	at, signal := pid, 0
	for {
		if err := unix.PtraceSyscall(at, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return false, fmt.Errorf("continue: %w", err)
		}
		var id int
		if id, status, err = waitAny(); err != nil {
			return false, err
		}
		at, signal = id, 0
		switch {
		case id == pid && (status.Exited() || status.Signaled()):
			if !killed && status.ExitStatus() != 0 {
				return false, fmt.Errorf("the child ended with %v", status)
			}
			return killed, nil
		case !status.Stopped() || killed:
		case status.StopSignal() == unix.SIGTRAP|0x80:
			enters, err := enters(id, picked)
			if err != nil {
				return false, err
			}
			if enters {
				killed = true
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					return false, fmt.Errorf("kill: %w", err)
				}
			}
		case status.StopSignal() != unix.SIGTRAP && status.StopSignal() != unix.SIGSTOP:
			signal = int(status.StopSignal())
		}
	}
}

func wait(pid int) (unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, unix.WALL, nil); !errors.Is(err, unix.EINTR) {
			return status, err
		}
	}
}

// waitAny waits for a thread that this thread traces.
func waitAny() (int, unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		id, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if !errors.Is(err, unix.EINTR) {
			return id, status, err
		}
	}
}

// enters tells whether a thread that stopped is about to do what is picked (linux/ptrace.h, Linux 5.3).
func enters(id int, picked pick) (bool, error) {
	var info struct {
		op   uint8
		_    [3]uint8
		arch uint32
		_    [2]uint64
		nr   uint64
		args [6]uint64
		_    [2]uint64
	}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(id), unsafe.Sizeof(info),
		uintptr(unsafe.Pointer(&info)), 0, 0)
	if errors.Is(errno, unix.ESRCH) {
		return false, nil // it has just been killed
	}
	if errno != 0 {
		return false, fmt.Errorf("ask what a thread is at: %w", errno)
	}
	return info.op == unix.PTRACE_SYSCALL_INFO_ENTRY && picked(info.nr, info.args), nil
}
