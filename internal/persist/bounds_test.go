package persist

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// TestHostBounds has the helper heed what root knows of the host. The kernel has 131072 entries and 16384 buckets.
func TestHostBounds(t *testing.T) {
	const gib = 1 << 30
	had := "# ctwarden-persisted: 1\n# machine id: m\nnet.netfilter.nf_conntrack_max = 262144\nnet.nf_conntrack_max = 262144\n"
	tests := []struct {
		name    string
		host    Host
		had     string
		ceiling uint64 // 0: 200000
		code    string // empty: it is persisted
		buckets uint64 // in the file

		withdrawn bool // our file is gone
	}{
		{name: "nothing is known", buckets: 16384},
		{name: "as much as there is", host: Host{Boot: 131072, Entries: 131072, BootBuckets: 16384}, buckets: 16384},
		{name: "less than the boot brings", host: Host{Boot: 131073, BootBy: "the kernel's default"}, code: CodeBelow},
		{name: "taken back to less than the boot brings", had: had, host: Host{Boot: 131073}, withdrawn: true},
		{name: "less than the boot brings, as our file has", had: strings.ReplaceAll(had, "262144", "65536"), host: Host{Boot: 131073}, withdrawn: true},
		{name: "less than is in use", host: Host{Entries: 131073}, code: CodeBelow},
		{name: "less than is in use, and than our file has", had: had, host: Host{Entries: 131073}, code: CodeBelow},
		{name: "back to less, as much as the boot brings", had: had, host: Host{Boot: 131072}, buckets: 16384},
		{name: "more than the memory's share", host: Host{Memory: remediate.Memory{Total: gib / 2, EntryBytes: 320}}, code: CodeMemory},
		{name: "within it, with none available now", host: Host{Memory: remediate.Memory{Total: gib, EntryBytes: 320}}, buckets: 16384},
		{name: "back to less, more than the memory's share", had: had, host: Host{Memory: remediate.Memory{Total: 1, EntryBytes: 320}}, buckets: 16384},
		{name: "a hash smaller than the boot's is left alone", host: Host{BootBuckets: 16385}},
		{name: "a hash larger than the ceiling takes is left alone", ceiling: 131072 / 4, had: had},
		{name: "but not where chains must be short", ceiling: 131072 / 4, had: had, host: Host{Chains: remediate.ChainsShort}, buckets: 16384},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			h.helper.Host = tt.host
			if tt.had != "" {
				h.plant(t, sysctlFile, tt.had)
			}
			if tt.ceiling != 0 {
				h.helper.Policy.Ceiling = tt.ceiling
			}
			before := h.tree(t)
			s := step
			if tt.had != "" {
				s.From, s.Reason = 262144, remediate.ReasonManual
			}
			p, err := h.listen(t).Persist(s, apply.PersistMeta{Buckets: 16384})
			var refusal *Refusal
			switch {
			case tt.code != "":
				if !errors.As(err, &refusal) || refusal.Code != tt.code || h.tree(t) != before {
					t.Errorf("%+v, %v, want the code %s and no change", p, err, tt.code)
				}
			case tt.withdrawn:
				if _, there, readErr := h.helper.Applier.Persisted(); err != nil || p.Withdrawn == nil || p.Withdrawn.Value != tt.host.Boot || there || readErr != nil {
					t.Errorf("%+v, %v, there %v, %v, want it withdrawn", p, err, there, readErr)
				}
			case err != nil || p.Max != 131072 || p.Buckets != tt.buckets:
				t.Errorf("%+v, %v, want %d buckets", p, err, tt.buckets)
			}
		})
	}
}

// TestOneAtATime has a request wait while another is under way, and give up in time.
func TestOneAtATime(t *testing.T) {
	h := newHost(t)
	h.helper.Dir = t.TempDir()
	unlock, err := lock(h.helper.Dir)
	if err != nil {
		t.Fatal(err)
	}
	c := h.listen(t)
	before := h.tree(t)
	if p, err := c.Persist(step, apply.PersistMeta{}); err == nil || !strings.Contains(err.Error(), "another request is under way") || h.tree(t) != before {
		t.Errorf("%+v, %v", p, err)
	}
	unlock()
	if p, err := c.Persist(step, apply.PersistMeta{}); err != nil || p.Max != 131072 {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestUnitEndsBeforeTheAgentGivesUp holds the unit to the times of both ends: what is not waited for is not written.
func TestUnitEndsBeforeTheAgentGivesUp(t *testing.T) {
	unit, err := os.ReadFile("../../systemd/ctwarden-persist@.service")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^RuntimeMaxSec=(\d+)$`).FindSubmatch(unit)
	if found == nil {
		t.Fatal("no RuntimeMaxSec")
	}
	seconds, _ := strconv.Atoi(string(found[1]))
	most, least := askWithin, requestWithin+lockWithin+answerWithin
	if runs := time.Duration(seconds) * time.Second; runs >= most || runs <= least {
		t.Errorf("it runs for %v, want less than the %v of the agent and more than its own %v", runs, most, least)
	}
	if want := fmt.Sprintln("RuntimeDirectory=ctwarden-persist"); !strings.Contains(string(unit), want) {
		t.Errorf("the unit has no place for the lock: %s", want)
	}
}
