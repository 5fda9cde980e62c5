package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// settledAfter is how long after its start the agent has the memory that only the start needed, tidyEvery how long what
// came and went later may stay. The collector leaves a third of a megabyte to a whole one more than is in use.
const (
	settledAfter = 30 * time.Second
	tidyEvery    = 2 * time.Minute
)

// slim gives back the memory that is not needed any more until ctx is done: of the heap now and then, which takes a few
// milliseconds, and once the pages of the program's own file that only the start used.
//
// Those pages are given back once. What an idle agent uses is back within two minutes, so doing it again would show
// less for that long only; and a host that is short of memory would drop what an incident needs.
func slim(ctx context.Context, log *zap.Logger) {
	timer := time.NewTimer(settledAfter)
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		debug.FreeOSMemory()
		if first {
			if err := unmapIdle(); err != nil {
				log.Warn("memory stays larger than it need be", zap.Error(err))
			}
		}
		timer.Reset(tidyEvery)
	}
}

// mapping is a part of the address space.
type mapping struct {
	from, to uintptr
}

// unmapIdle takes the code and tables of the program and its libraries out of its page tables. They stay in the page
// cache, from where the next use maps them again without reading, and which the kernel may empty when it needs memory:
// what is never used again is held for nobody.
func unmapIdle() error {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("give back the pages that only the start needed: %w", err)
	}
	files, err := readFileMappings(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("give back the pages that only the start needed: %w", err)
	}
	for _, m := range files {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back the pages that only the start needed: madvise %#x-%#x: %w", m.from, m.to, errno)
		}
	}
	return nil
}

// readFileMappings finds, in the form of proc_pid_smaps(5), what is mapped privately from files, cannot be written, and
// has no page that differs from its file, in memory or swapped out. What was written once and protected later, as the
// dynamic linker's tables are, has such pages: to let go of those would be to lose them.
func readFileMappings(smaps io.Reader) ([]mapping, error) {
	var found []mapping
	var m mapping
	candidate, clean := false, false // clean: no page in memory differs; the line about swap comes after that one
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0:
		case !strings.HasSuffix(fields[0], ":"): // from-to mode offset device inode [path]
			if _, err := fmt.Sscanf(fields[0], "%x-%x", &m.from, &m.to); err != nil || len(fields) < 5 {
				return nil, fmt.Errorf("smaps: no mapping in %q", lines.Text())
			}
			candidate, clean = (fields[1] == "r-xp" || fields[1] == "r--p") && fields[4] != "0", false
		case len(fields) < 2:
		case fields[0] == "Anonymous:":
			clean = fields[1] == "0"
		case fields[0] == "Swap:" && candidate && clean && fields[1] == "0":
			found = append(found, m)
		}
	}
	return found, lines.Err()
}
