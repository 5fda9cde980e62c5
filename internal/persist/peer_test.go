package persist

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// peerEnv names the socket to a process that runs TestAskAsNobody.
const peerEnv = "CTWARDEN_TEST_PERSIST_PEER"

// TestAskAsNobody is run by TestAnotherUser as another user.
func TestAskAsNobody(t *testing.T) {
	socket := os.Getenv(peerEnv)
	if socket == "" {
		t.Skip("run by another test")
	}
	_, err := NewClient(socket).Unpersist()
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != CodePeer {
		t.Errorf("%v, want the code %s", err, CodePeer)
	}
}

// TestAnotherUser has a real other user ask, at a socket that lets everybody in.
func TestAnotherUser(t *testing.T) {
	testhost.NeedRoot(t)
	h := newHost(t)
	h.plant(t, sysctlFile, "# ctwarden-persisted: 1\n# machine id: m\nnet.netfilter.nf_conntrack_max = 65536\nnet.nf_conntrack_max = 65536\n")
	before := h.tree(t)
	h.socket = filepath.Join(testhost.PublicDir(t), "s")
	h.listen(t)
	if err := os.Chmod(h.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := testhost.AsNobody(t, "TestAskAsNobody", peerEnv+"="+h.socket).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	var refusal *Refusal
	if err := <-h.served; !errors.As(err, &refusal) || refusal.Code != CodePeer {
		t.Errorf("served: %v", err)
	}
	if after := h.tree(t); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}
