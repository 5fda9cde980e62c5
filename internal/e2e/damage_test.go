package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestPromiseStateFileHurtWhileRunning damages or removes the state file in the middle of an incident. The agent must go
// on, with a fresh file that has all of it.
func TestPromiseStateFileHurtWhileRunning(t *testing.T) {
	for _, c := range []struct {
		name  string
		hurt  func(t *testing.T, path string)
		said  string
		aside int
		long  bool // in the long form only
	}{
		{"cut short", func(t *testing.T, path string) {
			if err := os.Truncate(path, 8192); err != nil {
				t.Fatal(err)
			}
		}, "the state file was found damaged", 1, false},
		{"emptied", func(t *testing.T, path string) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		}, "the state file was found damaged", 1, true},
		{"overwritten", func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write(bytes.Repeat([]byte("x"), 64<<10)); err != nil {
				t.Fatal(err)
			}
		}, "the state file was found damaged", 1, true},
		{"removed", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "was removed or replaced", 0, false},
	} {
		if c.long && !testhost.Long() {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			_, ns := lowered(t)
			h := startHub(t)
			a := newAgent(t, t.TempDir(), plain(h.url))
			a.start(t)
			watched(t, a, ns.Inode)
			fill(t, ns, a)
			h.wait(t, remediate.EventStepApplied, 1)
			c.hurt(t, filepath.Join(a.dir, "state", "state.db"))
			h.wait(t, remediate.EventStepConfirmed, 1)
			if err := ns.Flush(); err != nil {
				t.Fatal(err)
			}
			live(t, h, remediate.EventIncidentClosed)
			a.said(t, 1, "state file opened while running")
			a.wantCommand(t, 0, []string{"note: ", c.said, "0 that only that file held are lost"}, "status")
			aside, err := filepath.Glob(filepath.Join(a.dir, "state", "state.db.damaged-*"))
			if err != nil || len(aside) != c.aside {
				t.Errorf("set aside %v (%v), want %d", aside, err, c.aside)
			}
			testhost.Eventually(t, "all is saved", func() bool {
				s := a.status(t)
				return s.State.Saved && s.Outbox.Events == 0
			})
			a.stop(t, syscall.SIGTERM)
			a.allReceived(t, h)
			a.start(t)
			s := a.status(t)
			if len(s.Steps) != 1 || s.Steps[0].Outcome != remediate.OutcomeEffective || len(s.Incidents) != 0 || s.Outbox.Dropped != 0 {
				t.Errorf("after the restart: steps %+v, incidents %+v, outbox %+v", s.Steps, s.Incidents, s.Outbox)
			}
			h.wait(t, remediate.EventAgentStarted, 2)
			h.once(t)
			testhost.Held(t, "5.5 state file "+c.name+" while running", "the agent went on, %d events each once, the step known after a restart",
				len(h.of("")))
		})
	}
}

// TestPromiseNewerSchemaIsLeftAlone starts the agent on the state file of a later version.
func TestPromiseNewerSchemaIsLeftAlone(t *testing.T) {
	testhost.NeedRoot(t)
	a := newAgent(t, t.TempDir(), plain())
	a.start(t)
	a.stop(t, syscall.SIGTERM)
	path := filepath.Join(a.dir, "state", "state.db")
	laterSchema(t, path)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a.wantCommand(t, 3, []string{"schema 7", "up to 1", "newer version"}, "run")
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed (%v)", err)
	}
	all, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(all) != 1 {
		t.Errorf("%v %v, want the file alone", all, err)
	}
	testhost.Held(t, "5.6 a newer schema", "refused with exit code 3, %d bytes unchanged", len(after))
}

// laterSchema writes what a later version would: its number, with the seal that this version knows.
func laterSchema(t *testing.T, path string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket([]byte("meta"))
		if meta == nil {
			return errors.New("no bucket meta")
		}
		sum := crc32.Checksum([]byte("meta"+"schema"+"7"), crc32.MakeTable(crc32.Castagnoli))
		return meta.Put([]byte("schema"), append(binary.BigEndian.AppendUint32(nil, sum), '7'))
	})
	if err != nil {
		t.Fatal(err)
	}
}
