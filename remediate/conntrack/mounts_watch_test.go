package conntrack

import (
	"context"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

func TestWatchMounts(t *testing.T) {
	testkernel.Require(t)
	ctx, cancel := context.WithCancel(t.Context())
	changed, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { ended <- WatchMounts(ctx, changed) }()
	for range 3 {
		testkernel.Scratch(t)
		begin := time.Now()
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was told of a namespace that was mounted")
		}
		t.Logf("told after %v", time.Since(begin))
	}
	cancel()
	var err error
	testhost.Eventually(t, "it ends", func() bool {
		select {
		case err = <-ended:
			return true
		default:
			return false
		}
	})
	if err != nil {
		t.Error(err)
	}
}
