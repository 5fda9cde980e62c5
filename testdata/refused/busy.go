package main

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// work runs a busy loop on each CPU until what it returns is called, which is due also after an error.
func work() (rest func(), err error) {
	var loops []testhost.Program
	rest = func() {
		for _, l := range loops {
			l.Kill()
		}
	}
	for cpu := range runtime.NumCPU() {
		l, err := testhost.Launch(io.Discard, io.Discard, "taskset", "-c", fmt.Sprint(cpu), "sh", "-c", "while :; do :; done")
		loops = append(loops, l)
		if err != nil {
			return rest, fmt.Errorf("start a busy loop: %w", err)
		}
	}
	return rest, nil
}

// none is no tool at all.
func none(context.Context, stage) (running, error) {
	return running{
		stop:  func() error { return nil },
		steps: func(context.Context) (int, error) { return 0, nil },
	}, nil
}
