package hub

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
)

// silentGroup is the open group of hosts that are silent, and how many hosts are.
func (r *running) silentGroup() (g *fleet.Group, hosts int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fleet == nil {
		return nil, 0
	}
	for _, each := range r.fleet.Groups() {
		if each.Kind == fleet.KindSilent {
			g = &each
		}
	}
	for h := range r.fleet.All() {
		if h.State == fleet.HostSilent {
			hosts++
		}
	}
	return g, hosts
}

// TestPromiseDeafHub removes the bucket of host states under the leader: it is said with what to do, and no host is
// called silent. Once the bucket was made anew, it is followed from its start, and those are called silent that are.
func TestPromiseDeafHub(t *testing.T) {
	_, nc, js := newLab(t)
	const after = 4 * time.Second
	h := startHub(t, "one", nc, Settings{Fleet: fleet.Config{GroupBy: []string{fleet.GroupBySite}, SilentAfter: after, GroupWait: time.Second}})
	leads(t, h)
	for i := range 5 {
		host := fmt.Sprint("h", i)
		putState(t, nc, "gva", host, stateOf("gva", host, 5, nil))
	}
	testhost.Eventually(t, "the states are read", func() bool { return h.watch.seq.Load() == 5 })
	if err := js.DeleteStream(t.Context(), "KV_"+notify.HostsBucket); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.hearing.upTo = time.Now().Add(-deafAfter) // as if that had passed
	h.mu.Unlock()
	pause(t.Context(), after+2*time.Second)
	if g, hosts := h.silentGroup(); g != nil || hosts != 0 {
		t.Errorf("%d hosts are called silent by a hub that cannot hear them: %+v", hosts, g)
	}
	testhost.Eventually(t, "it is said what to do", func() bool {
		st := h.Status()
		return strings.Contains(st.Deaf, "run ctwarden-hub init") && st.Problem == st.Deaf
	})

	if _, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the new bucket is read, and those are silent that are", func() bool {
		putState(t, nc, "gva", "well", stateOf("gva", "well", 5, nil))
		pause(t.Context(), 100*time.Millisecond)
		g, hosts := h.silentGroup()
		return g != nil && g.Hosts == 5 && hosts == 5
	})
	if st := h.Status(); st.Deaf != "" || st.Problem != "" {
		t.Errorf("it hears again, and says %q, %q", st.Deaf, st.Problem)
	}
	testhost.Held(t, "4.18 deaf hub", "5 hosts whose bucket was removed: 0 called silent until it was made anew, then the 5 that were")
}

// TestHearing: nothing is heard of a bucket that nobody follows, that has more than what came, or that cannot be asked.
func TestHearing(t *testing.T) {
	begun := time.Unix(1000, 0)
	follow := func() {}
	for _, c := range []struct {
		name     string
		followed bool
		read     uint64
		last     uint64
		want     bool
	}{
		{"all came", true, 7, 7, true},
		{"it has nothing", true, 0, 0, true},
		{"not all came", true, 6, 7, false},
		{"nobody follows it", false, 7, 7, false},
		{"nobody follows it, and it has nothing", false, 0, 0, false},
	} {
		var w watch
		if c.followed {
			w.stop.Store(&follow)
		}
		w.seq.Store(c.read)
		w.heard(c.last, false, begun)
		w.heard(c.last, false, begun.Add(backlogEvery))
		if got := w.upTo.Equal(begun); got != c.want {
			t.Errorf("%s: heard is %v", c.name, got)
		}
	}
}

// TestFullBucketIsSaidFirst: a full bucket takes nothing, so nothing of it comes either, and what helps is room.
func TestFullBucketIsSaidFirst(t *testing.T) {
	h := &Hub{hosts: newHosts(), connected: true, room: roomFor(100, 100), hearing: hearing{upTo: time.Now().Add(-time.Hour)}}
	if st := h.Status(); !strings.Contains(st.Deaf, "--host-bytes") || st.Problem != st.Deaf {
		t.Errorf("it says %q, %q", st.Deaf, st.Problem)
	}
	h.room = roomFor(90, 100)
	if st := h.Status(); !strings.Contains(st.Deaf, "does not come") || st.Problem != st.Deaf {
		t.Errorf("nearly full and deaf it says %q, %q", st.Deaf, st.Problem)
	}
	h.hearing.upTo = time.Now()
	if st := h.Status(); st.Deaf != "" || !strings.Contains(st.Problem, "--host-bytes") {
		t.Errorf("nearly full it says %q, %q", st.Deaf, st.Problem)
	}
}

func TestHearingProblem(t *testing.T) {
	at := time.Unix(1000, 0)
	h := hearing{upTo: at}
	if p := h.problem(at.Add(deafAfter)); p != "" {
		t.Errorf("within its time: %q", p)
	}
	late := at.Add(deafAfter + 1)
	if p := h.problem(late); !strings.Contains(p, "does not come") || !strings.Contains(p, "00:16:40 UTC") || !strings.Contains(p, "nats stream info KV_CTWARDEN_HOSTS") {
		t.Errorf("without a reason: %q", p)
	}
	h.why = noBucket("KV_"+notify.HostsBucket, jetstream.ErrStreamNotFound)
	if p := h.problem(late); !strings.Contains(p, "run ctwarden-hub init") || !errors.Is(h.why, notify.ErrUnavailable) {
		t.Errorf("without a bucket: %q", p)
	}
}
