package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// settle brings hub and agent up for good, empties the namespace, and waits until everything is told.
func (s *storm) settle(t *testing.T) *hub {
	t.Helper()
	if s.hub != nil {
		s.hub.stop(t, syscall.SIGKILL)
		s.hubKills++
	}
	h := startHubAt(t, s.address, s.store)
	if err := s.ns.Flush(); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	s.quiet(t)
	return h
}

// quiet waits until no incident is open, no outcome awaited and the outbox empty.
func (s *storm) quiet(t *testing.T) {
	t.Helper()
	testhost.Eventually(t, "the storm is over", func() bool {
		now := s.status(t)
		return len(now.Incidents) == 0 && now.Outbox.Events == 0
	})
}

// lastStep holds the file to the journal of steps, and then, the file removed and the limit lowered, has one more step
// taken in peace.
func (s *storm) lastStep(t *testing.T) {
	t.Helper()
	s.stop(t, syscall.SIGTERM)
	_, steps := s.saved(t)
	var persisted uint64
	for _, step := range steps {
		if step.Persisted != "" {
			persisted = max(persisted, step.To)
		}
	}
	if got := s.file(t); got != persisted {
		t.Errorf("the file has %d, the journal of steps has %d made to last", got, persisted)
	}
	if err := os.Remove(s.persisted); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	setMax(t, s.lock, stormLimit)
	s.start(t)
	watched(t, s.agentProcess, s.ns.Inode)
	if _, err := s.ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: 2 * stormLimit}); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the last step is made to last", func() bool { return s.status(t).Steps[0].Persisted != "" && s.file(t) > 0 })
	if err := s.ns.Flush(); err != nil {
		t.Fatal(err)
	}
	s.quiet(t)
	s.stop(t, syscall.SIGTERM)
}

// file is the limit of the sysctl.d file, which must be whole; 0: there is none.
func (s *storm) file(t *testing.T) uint64 {
	t.Helper()
	text, err := os.ReadFile(s.persisted)
	if os.IsNotExist(err) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^net\.netfilter\.nf_conntrack_max = (\d+)\nnet\.nf_conntrack_max = (\d+)$`).FindSubmatch(text)
	if found == nil || string(found[1]) != string(found[2]) {
		t.Fatalf("%s is not whole:\n%s", s.persisted, text)
	}
	n, err := strconv.ParseUint(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// check holds what was delivered to the journal of steps, to itself and to the kernel.
func (s *storm) check(t *testing.T, h *hub) {
	t.Helper()
	tracker, steps := s.saved(t)
	if len(tracker.Open) > 0 || tracker.Pending != nil {
		t.Errorf("still open %d, pending %+v", len(tracker.Open), tracker.Pending)
	}
	events := h.of("")
	h.once(t)
	lost, twice := tell(events, steps)
	for _, what := range append(lost, twice...) {
		t.Error(what)
	}
	last := steps[len(steps)-1]
	if now := limitNow(t); last.To != now || last.Keys["net.netfilter.nf_conntrack_max"] != now || s.file(t) != now {
		t.Errorf("limit %d, file %d, last step %+v", now, s.file(t), last)
	}
	var held uint64
	count := 0
	for _, i := range incidents(h.of(remediate.EventIncidentClosed)) {
		held += i.Drops + i.EarlyDrops
		count++
	}
	if refused := drops(t, s.ns); held > refused || refused-held > s.unsaved {
		t.Errorf("incidents hold %d refused packets of %d; %d may be missing", held, refused, s.unsaved)
	} else {
		testhost.Held(t, "3.6 storm", "%d kills, %d of NATS, limit lowered %d times by somebody else: %d steps, %d incidents, "+
			"%d events, lost %d, twice %d; of %d refused packets %d in no incident (the kill came before they were read and saved)",
			s.kills, s.hubKills, s.lowered, len(steps), count, len(events), len(lost), len(twice), refused, refused-held)
	}
}

// tell compares what was delivered with the journal of steps, by the ids of incidents and steps.
func tell(events []notify.Received, steps []remediate.Step) (lost, twice []string) {
	times := map[string]int{}
	named := map[string]bool{}
	for _, r := range events {
		switch d := r.Event.Data.(type) {
		case remediate.Incident:
			times[fmt.Sprint(r.Event.Type, " ", d.ID)]++
			named[d.ID] = true
		case remediate.Step:
			times[fmt.Sprint(r.Event.Type, " ", d.ID)]++
			if d.IncidentID != "" {
				named[d.IncidentID] = true
			}
		}
	}
	for id := range named {
		for _, typ := range []remediate.EventType{remediate.EventIncidentOpened, remediate.EventIncidentClosed} {
			if what := fmt.Sprint(typ, " ", id); times[what] == 0 {
				lost = append(lost, "lost: "+what)
			}
		}
	}
	for _, s := range steps {
		written := s.Keys["net.netfilter.nf_conntrack_max"] == s.To
		done := remediate.EventStepApplied
		if apply.UndoneID(s.ID) != s.ID {
			done = remediate.EventStepReverted
		}
		if what := fmt.Sprint(done, " ", s.ID); written && times[what] == 0 {
			lost = append(lost, "lost: "+what)
		}
		if what := fmt.Sprint(remediate.EventStepConfirmed, " ", s.ID); s.Outcome != "" && times[what] == 0 {
			lost = append(lost, "lost: "+what)
		}
	}
	for what, n := range times {
		repeats := strings.HasPrefix(what, string(remediate.EventIncidentUpdated)) || strings.HasSuffix(what, " ")
		if n > 1 && !repeats {
			twice = append(twice, fmt.Sprintf("%d times %s", n, what))
		}
	}
	return lost, twice
}
