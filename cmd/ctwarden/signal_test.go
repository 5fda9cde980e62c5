package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stubborn is a program that takes the first signal as a wish to stop, and never stops.
func stubborn() {
	ctx, stop := untilSignal()
	defer stop()
	fmt.Println("running")
	<-ctx.Done()
	fmt.Println("stopping")
	select {}
}

func TestSecondSignalEndsAStopThatHangs(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := exec.Command("stubborn")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			late := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
			defer late.Stop()
			lines := bufio.NewScanner(out)
			for _, want := range []string{"running", "stopping"} {
				if !lines.Scan() || lines.Text() != want {
					t.Fatalf("got %q, want %q", lines.Text(), want)
				}
				// The program gives up its handler after it has said so, so one signal more may be needed.
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
			ended := make(chan error, 1) // the waiter need not wait
			go func() { ended <- cmd.Wait() }()
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case err = <-ended:
				case <-tick.C:
					_ = cmd.Process.Signal(sig) // it may have ended just now
					continue
				}
				break
			}
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != sig {
				t.Errorf("got %v, want it ended by %v", err, sig)
			}
		})
	}
}

func TestNoTableIsNotARefusal(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CTWARDEN_TEST_REQUIRE") != "" {
			t.Fatal("needs root, to hide the table")
		}
		t.Skip("needs root, to hide the table")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	write(t, config, "state_dir: "+dir+"/lib\nruntime_dir: "+dir+"/run\nmetrics: {listen: ''}\n", 0o644)
	for _, args := range [][]string{{"raise", "--to", "1000000"}, {"revert"}} {
		t.Run(args[0], func(t *testing.T) {
			// In a mount namespace of its own there are no tables in /proc/sys.
			hide := []string{"-m", "sh", "-c", `mount -t tmpfs none /proc/sys/net && exec ctwarden "$@" --config "$0"`, config}
			out, err := exec.Command("unshare", append(hide, args...)...).CombinedOutput()
			if strings.Contains(string(out), "unshare") {
				t.Skipf("no mount namespace: %s", out)
			}
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != exitUnavailable || !strings.Contains(string(out), "connection tracking is not loaded") {
				t.Errorf("got %v, %s; want exit code 3", err, out)
			}
		})
	}
}
