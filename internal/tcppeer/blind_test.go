package tcppeer

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

const (
	blindEnv   = "CTWARDEN_TEST_NO_SOCK_DIAG"
	blindedEnv = "CTWARDEN_TEST_NO_SOCK_DIAG_HERE"
)

// blinded tells whether this process cannot open NETLINK_SOCK_DIAG.
func blinded() bool { return os.Getenv(blindedEnv) != "" }

// TestOfWithoutDiag runs TestOf again in a sandbox that does not let NETLINK_SOCK_DIAG be opened.
func TestOfWithoutDiag(t *testing.T) {
	testhost.NeedRoot(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestBlindHelper$", "-test.v")
	cmd.Env = append(os.Environ(), blindEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
}

// TestBlindHelper is not a test: TestOfWithoutDiag runs it in a process of its own, which becomes that of TestOf.
func TestBlindHelper(t *testing.T) {
	if os.Getenv(blindEnv) == "" {
		return
	}
	runtime.LockOSThread() // the filter is this thread's, until exec makes it the process's
	if err := refuseDiag(); err != nil {
		t.Fatal(err)
	}
	if err := os.Unsetenv(blindEnv); err != nil {
		t.Fatal(err)
	}
	t.Fatal(syscall.Exec("/proc/self/exe", []string{"tcppeer.test", "-test.run=^TestOf$", "-test.v"}, append(os.Environ(), blindedEnv+"=1")))
}

// refuseDiag has socket(AF_NETLINK, …, NETLINK_SOCK_DIAG) fail as under RestrictAddressFamilies=.
func refuseDiag() error {
	const call, arg0, arg2 = 0, 16, 32 // offsets in struct seccomp_data; the low half on a little-endian machine
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	filter := []unix.SockFilter{
		load(call), unless(unix.SYS_SOCKET, 5),
		load(arg0), unless(unix.AF_NETLINK, 3),
		load(arg2), unless(unix.NETLINK_SOCK_DIAG, 1),
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
