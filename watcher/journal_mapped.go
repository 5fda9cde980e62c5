//go:build linux && cgo

package watcher

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// letGoEvery is how many records are read until the pages of the journal's files that they were in are let go of: some
// 3 KiB a record, of files that may be far larger than what the agent may take.
const letGoEvery = 1000

// letGo takes the journal's files out of this process's page tables. They stay in the page cache, from where libsystemd's
// next look maps them again. It is called by the goroutine that has libsystemd map and unmap them, so that nothing else
// can have come to be in their place.
func letGo() error {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("let go of the journal's pages: %w", err)
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		from, to, ok := journalMapping(lines.Text())
		if !ok {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("let go of the journal's pages: madvise %#x-%#x: %w", from, to, errno)
		}
	}
	return lines.Err()
}

// journalMapping is where a line of proc_pid_maps(5) has a journal file, shared and read-only, as libsystemd maps it.
func journalMapping(line string) (from, to uintptr, ok bool) {
	fields := strings.Fields(line) // from-to mode offset device inode path
	if len(fields) < 6 || fields[1] != "r--s" || !strings.Contains(strings.Join(fields[5:], " "), ".journal") {
		return 0, 0, false
	}
	_, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to)
	return from, to, err == nil && from < to
}
