package agent

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestDamageAtRunTimeEndsTheAgent cuts the state file short under the open store.
func TestDamageAtRunTimeEndsTheAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	store, _, err := state.Open(path, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r := newRecorder(store, func() {}, zaptest.NewLogger(t))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	recording, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return r.Run(recording) })
	saved := make(chan struct{}) // closed after the first commit
	r.add(state.Change{Events: []notify.Outgoing{{ID: "1", Body: []byte("{}")}}}, func() { close(saved) })
	select {
	case <-saved:
	case <-ctx.Done():
		t.Fatal("nothing was saved")
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	r.add(state.Change{Events: []notify.Outgoing{{ID: "2", Body: []byte("{}")}}}, nil)
	err = r.watch(ctx)
	if !errors.Is(err, state.ErrDamaged) || !strings.Contains(err.Error(), "start ctwarden again") {
		t.Errorf("got %v", err)
	}
	done := make(chan struct{}) // closed by the job
	r.do(func() { close(done) })
	select {
	case <-done:
	case <-ctx.Done():
		t.Error("jobs are not done any more")
	}
	stop()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	again, opened, err := state.Open(path, state.Options{})
	if err != nil || opened.SetAside == "" {
		t.Fatalf("the next start: %+v, %v", opened, err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestFleetGetsTheBusiestOnly(t *testing.T) {
	var s Status
	for i := range 4000 {
		s.NetNS = append(s.NetNS, NetNSStatus{NetNS: remediate.NetNS{Inode: uint64(i), Name: strings.Repeat("n", 64)}})
		s.Incidents = append(s.Incidents, remediate.Incident{ID: strings.Repeat("i", 32)})
	}
	s.NetNSTotal = len(s.NetNS)
	out := s.forFleet()
	body, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > 256<<10 || len(out.NetNS) != sharedNetNS || out.NetNS[100].Inode != 100 || len(out.Incidents) != sharedIncidents {
		t.Errorf("%d bytes, %d namespaces, %d incidents", len(body), len(out.NetNS), len(out.Incidents))
	}
	if !strings.Contains(string(body), `"netns_total":4000`) || !strings.Contains(string(body), "3900 more incidents") {
		t.Error("the number of all is not told")
	}
	if len(s.NetNS) != 4000 || len(s.Notes) != 0 {
		t.Error("the status itself was changed")
	}
}
