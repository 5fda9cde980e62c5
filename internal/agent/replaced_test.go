package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// TestNamespaceThatHasAnInodeAgain has a namespace go and another one come with its inode between two looks, and be full
// at once. What it refused is its own, whatever the one before it had refused.
func TestNamespaceThatHasAnInodeAgain(t *testing.T) {
	h := newScratch(t)
	const inode = 4026532118
	show := func(pid, count, refused int) {
		process := fmt.Sprintf("proc/%d/", pid)
		h.link(t, process+"ns/net", fmt.Sprintf("net:[%d]", inode))
		h.put(t, process+"comm", "guest\n")
		h.put(t, process+"net/stat/nf_conntrack", fmt.Sprintf(scratchStat, count, refused))
	}
	show(50, 10, 600)
	a, err := Open(t.Context(), h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.discover(time.Now())
	a.readWith(a.spaces[inode], true)
	if err := os.RemoveAll(filepath.Join(h.root, "proc/50")); err != nil {
		t.Fatal(err)
	}
	show(60, 65536, 7)
	a.discover(time.Now())
	a.readWith(a.spaces[inode], true)
	for _, ev := range a.events {
		if in, ok := ev.Data.(remediate.Incident); ok && ev.Type == remediate.EventIncidentOpened {
			if in.Drops != 7 || in.Severity != remediate.SeverityCritical {
				t.Errorf("opened %+v, want critical with 7 refused", in)
			}
			return
		}
	}
	t.Error("no incident")
}
