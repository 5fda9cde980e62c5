//go:build failpoint

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// env names the stage at which the program is to kill itself, as stage or stage:n for the n-th time.
const env = "CTWARDEN_FAILPOINT"

// New returns what kills this process, beyond any clean-up, at the stage that the environment names. It is in
// programs that are built for tests alone (-tags failpoint).
func New() func(stage string) {
	stage, times, _ := strings.Cut(os.Getenv(env), ":")
	if stage == "" {
		return nil
	}
	left := make(chan int, 1) // holds how many times are left; whoever has it counts
	n, err := strconv.Atoi(times)
	if err != nil {
		n = 1
	}
	left <- n
	return func(at string) {
		if at != stage {
			return
		}
		n := <-left - 1
		left <- n
		if n > 0 {
			return
		}
		fmt.Fprintln(os.Stderr, "killed at", stage)
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			panic(err)
		}
		select {}
	}
}
