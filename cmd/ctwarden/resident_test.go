package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestReadFileMappings(t *testing.T) {
	const text = `00400000-00a41000 r-xp 00002000 fe:00 77 /usr/bin/ctwarden
Size:               6404 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
00a41000-00a45000 r--p 00002000 fe:00 77 /usr/bin/ctwarden (deleted)
Anonymous:             0 kB
Swap:                  0 kB
00a45000-00a46000 r--p 00002000 fe:00 77 /usr/lib/libc.so.6
Anonymous:             4 kB
Swap:                  0 kB
00a46000-00a47000 rw-p 00002000 fe:00 77 /usr/bin/ctwarden
Anonymous:             0 kB
Swap:                  0 kB
00a47000-00a48000 r--s 00000000 fe:00 78 /var/lib/ctwarden/state.db
Anonymous:             0 kB
Swap:                  0 kB
00a48000-00a49000 r--p 00002000 fe:00 77 /usr/lib/libsystemd.so.0
Anonymous:             0 kB
Swap:                  4 kB
7fff0000-7fff2000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
Swap:                  0 kB
`
	found, err := readFileMappings(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := []mapping{{0x400000, 0xa41000}, {0xa41000, 0xa45000}}; !slices.Equal(found, want) {
		t.Errorf("found %x, want %x", found, want)
	}
	for _, junk := range []string{"no mapping\n", "0-x r-xp 0 0 7\n", "0-1 r-xp\n"} {
		if found, err := readFileMappings(strings.NewReader(junk)); err == nil {
			t.Errorf("%q: found %x, want an error", junk, found)
		}
	}
}

// TestUnmapIdle lets go of this program's own code while it runs.
func TestUnmapIdle(t *testing.T) {
	resident := func() (pages int) {
		text, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Fatal(err)
		}
		var size, all int
		if _, err := fmt.Sscan(string(text), &size, &all, &pages); err != nil {
			t.Fatal(err)
		}
		return pages
	}
	before := resident()
	if err := unmapIdle(); err != nil {
		t.Fatal(err)
	}
	if after := resident(); after >= before {
		t.Errorf("%d pages of files are resident, %d before", after, before)
	} else {
		t.Logf("pages of files: %d, then %d", before, after)
	}
}
